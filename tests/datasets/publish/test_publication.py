"""A refresh publishes the rows of the source as a version, and only what has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_etcdaero.datasets.blocks import block_store as blockstore
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, OutcomeUnknown
from tests.datasets.hosting import HOUR, Alias, FakeHost, history, many, publish

# --- outcomes --------------------------------------------------------------------------------------------------------


def test_the_first_refresh_publishes_version_1(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(many(100), refresh_every=HOUR)
    result = prices.refresh()
    assert (result.outcome, result.name, result.version, result.rows) == (Outcome.REFRESHED, "prices", 1, 100)
    assert result.ok
    assert result.bytes_written >= result.bytes_total > 0
    assert result.seconds > 0
    assert result.error is None
    assert result.holder is None
    state = host.state(prices)
    assert state.current is not None
    assert state.checked is not None
    assert (state.current.version, state.current.rows, state.current.epoch) == (1, 100, 1)
    assert state.current.stored_bytes == result.bytes_total
    assert result.next_due == pytest.approx(state.checked.load_started + 0.9 * 3600)
    assert host.listener.publications == [("prices", 1)]
    assert host.woken == 1


def test_unchanged_rows_make_no_version_but_are_noted(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(many(50), refresh_every=HOUR)
    prices.refresh()
    before = host.state(prices)
    assert before.checked is not None
    writes = host.records.calls["put_many"]
    result = prices.refresh(force=True)
    after = host.state(prices)
    assert (result.outcome, result.version, result.rows, result.bytes_written) == (Outcome.UNCHANGED, 1, 50, 0)
    assert after.current == before.current
    assert after.current_revision == before.current_revision
    assert after.checked is not None
    assert after.checked.load_started > before.checked.load_started
    assert after.checked.version == 1
    assert result.next_due == pytest.approx(after.checked.load_started + 0.9 * 3600)
    assert host.records.calls["put_many"] == writes
    assert history(host, prices) == [1]
    assert host.listener.publications == [("prices", 1)]


def test_only_changed_blocks_are_written(host: FakeHost, declare: Callable[..., Any]) -> None:
    rows = many(5000)
    prices = declare(rows)
    publish(prices)
    before = set(host.ttls(prices))
    result = publish(prices, rows | {"k7": {"n": -1}})
    written = set(host.ttls(prices)) - before
    assert result.outcome is Outcome.REFRESHED
    assert len(written) == 3  # the block, its page, the root
    assert result.bytes_written < result.bytes_total / 10


def test_a_failing_source_changes_nothing_that_readers_see(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    prices.refresh()
    before = host.state(prices)
    prices.source.error = RuntimeError("the source is down")
    result = prices.refresh(force=True)
    assert (result.outcome, result.ok, result.version) == (Outcome.FAILED, False, 1)
    assert result.error == "RuntimeError: the source is down"
    after = host.state(prices)
    assert (after.current, after.checked) == (before.current, before.checked)
    assert after.attempt is not None
    assert "the source is down" in after.attempt.error
    assert host.listener.failures == [("prices", "refresh", "RuntimeError: the source is down")]
    assert host.kv.lock(prices.layout("t").lock).holder() is None


def test_an_emptied_record_store_is_filled_again_though_nothing_is_due(
    host: FakeHost, declare: Callable[..., Any]
) -> None:
    prices = declare(many(100), refresh_every=HOUR)
    prices.refresh()
    host.records.inner.truncate()
    result = prices.refresh()
    assert (result.outcome, result.version) == (Outcome.REFRESHED, 2)
    assert None in host.ttls(prices).values()
    assert prices.refresh().outcome is Outcome.FRESH


def test_a_store_that_is_away_is_a_failure_and_no_exception(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    host.engine.break_("range", ClusterError("no endpoint answers"))
    result = prices.refresh()
    assert (result.outcome, result.version) == (Outcome.FAILED, None)
    assert result.error == "ClusterError: no endpoint answers"
    assert prices.source.loads == 0


@pytest.mark.parametrize("method", ["put_many", "touch_many"])
@pytest.mark.parametrize("applied", [True, False])
def test_a_record_store_that_refuses_writes_for_a_moment_costs_no_refresh(
    host: FakeHost, declare: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, method: str, applied: bool
) -> None:
    monkeypatch.setattr(blockstore, "FIRST_PAUSE", 0.01)
    errors: list[Exception] = [ClusterError("no node"), DeadlineExceeded("late"), OutcomeUnknown("the answer was lost")]

    def fail(*args: Any, **options: Any) -> None:
        if errors:
            raise errors.pop()

    prices = declare(many(100))
    (host.records.after if applied else host.records.before)[method] = fail
    result = prices.refresh()
    assert (result.outcome, result.version, result.error) == (Outcome.REFRESHED, 1, None)
    assert errors == []
    assert prices.source.loads == 1
    assert set(host.ttls(prices).values()) == {None}


def test_a_record_store_that_goes_on_refusing_writes_is_a_failure(
    host: FakeHost, declare: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blockstore, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(blockstore, "PATIENCE", 0.1)

    def fail(*args: Any, **options: Any) -> None:
        raise ClusterError("no node")

    prices = declare(many(100))
    host.records.before["put_many"] = fail
    result = prices.refresh()
    assert (result.outcome, result.error) == (Outcome.FAILED, "ClusterError: no node")
    assert host.records.calls["put_many"] > 1
    assert host.state(prices).current is None


def test_an_unknown_alias_is_a_failure_and_no_exception(host: FakeHost, declare: Callable[..., Any]) -> None:
    assert "no alias 'nowhere'" in str(declare(using="nowhere").refresh().error)


def test_two_aliases_are_two_places(host: FakeHost, declare: Callable[..., Any]) -> None:
    host.aliases["other"] = Alias()
    here, there = declare(name="here"), declare(name="there", using="other")
    publish(here)
    publish(there)
    assert host.aliases["other"].stores.kv.get(there.layout("t").announcement) is not None
    assert host.kv.get(there.layout("t").announcement) is None
    assert host.aliases["other"].stores.kv.get(here.layout("t").announcement) is None


def test_schemas_are_lines_of_their_own(host: FakeHost, declare: Callable[..., Any]) -> None:
    old = declare({"a": 1}, name="old", schema=1)
    new = declare({"a": "1"}, name="new", schema=2)
    assert old.layout("t").base == "datasets/old/s1/"
    assert new.layout("t").base == "datasets/new/s2/"
    assert publish(new).version == 1


def fail_announcing(host: FakeHost, error: Exception, *, applied: bool, times: int) -> None:
    """Let the transactions fail that come next after a version was sealed: those that announce it."""

    def arm(*args: Any, **options: Any) -> None:
        if args[1] is None:  # touched for good: sealed
            host.records.after.pop("touch_many")
            host.engine.fail("txn", error, applied=applied, times=times)

    host.records.after["touch_many"] = arm


# --- unknown outcomes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("times", [1, 2])
def test_an_announcement_of_unknown_outcome_is_made_once(
    host: FakeHost, declare: Callable[..., Any], applied: bool, times: int
) -> None:
    prices = declare({"a": 1})
    publish(prices)
    fail_announcing(host, OutcomeUnknown("the answer was lost"), applied=applied, times=times)
    result = publish(prices, {"a": 2})
    assert (result.outcome, result.version) == (Outcome.REFRESHED, 2)
    assert history(host, prices) == [2, 1]
    state = host.state(prices)
    assert state.current is not None
    assert state.current.version == 2
    copy = host.blocks(prices).read_copy()
    assert copy is not None
    assert (copy.announcement.version, copy.mod_revision) == (2, state.current_revision)
    host.engine.mend()
    assert publish(prices).outcome is Outcome.UNCHANGED


def test_an_announcement_that_is_applied_late_counts_as_made(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare({"a": 1})
    publish(prices)
    late: list[Callable[[], object]] = []
    inner = host.engine.inner
    real = inner.txn

    def delayed(request: Any, *, timeout: float | None = None) -> Any:
        if late or not any(b"announcements/" in getattr(each, "key", b"") for each in request.compares):
            if late and request.compares and len(request.success) > 1:
                late.pop()()  # the lost one arrives before the next try
            return real(request, timeout=timeout)
        late.append(lambda: real(request, timeout=timeout))
        raise OutcomeUnknown("the answer was lost")

    inner.txn = delayed  # type: ignore[method-assign]
    result = publish(prices, {"a": 2})
    inner.txn = real  # type: ignore[method-assign]
    assert (result.outcome, result.version) == (Outcome.REFRESHED, 2)
    assert history(host, prices) == [2, 1]


def test_an_outcome_that_stays_unknown_is_a_failure(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare({"a": 1})
    publish(prices)
    fail_announcing(host, OutcomeUnknown("the answer was lost"), applied=False, times=3)
    result = publish(prices, {"a": 2})
    assert result.error == "OutcomeUnknown: the answer was lost"
    assert history(host, prices) == [1]
    assert publish(prices, {"a": 2}).outcome is Outcome.REFRESHED
    assert history(host, prices) == [2, 1]
