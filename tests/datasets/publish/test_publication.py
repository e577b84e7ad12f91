"""A refresh says what happened, writes only what changed, and never takes another one's publication back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from django_etcdaero.datasets.blocks import block_store as blockstore
from django_etcdaero.datasets.publish.history import rollback
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state.requests import request_load
from django_etcdaero.datasets.state.status import Outcome, RefreshResult
from django_etcdaero.datasets.validators import MinRows
from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, OutcomeUnknown
from tests.datasets.hosting import Alias, FakeHost, in_thread, many, publish
from tests.waiting import wait_until

HOUR = timedelta(hours=1)


def history(host: FakeHost, dataset: Any) -> list[int]:
    return [each.announcement.version for each in dataset.history()]


def drop_lock(host: FakeHost, dataset: Any) -> None:
    """Take the lock away from whoever holds it, as an expired lease does."""
    assert host.kv.delete_range(dataset.layout("t").lock + "/", prefix=True).deleted == 1


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
    line = host.line(prices)
    assert line.current is not None
    assert line.checked is not None
    assert (line.current.version, line.current.rows, line.current.epoch) == (1, 100, 1)
    assert line.current.stored_bytes == result.bytes_total
    assert result.next_due == pytest.approx(line.checked.load_started + 0.9 * 3600)
    assert host.listener.publications == [("prices", 1)]
    assert host.woken == 1


def test_what_is_not_due_does_not_touch_the_source(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    first = prices.refresh()
    second = prices.refresh()
    assert second.outcome is Outcome.FRESH
    assert (second.version, second.next_due, second.ok) == (1, first.next_due, True)
    assert prices.source.loads == 1


def test_it_is_due_after_nine_tenths_of_the_period(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    prices.refresh()
    host.age(prices, 0.9 * 3600 - 5)
    assert prices.refresh().outcome is Outcome.FRESH
    host.age(prices, 10)
    assert prices.refresh().outcome is Outcome.UNCHANGED


def test_a_load_that_began_in_the_future_does_not_count(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    prices.refresh()
    host.age(prices, -7200)
    assert prices.refresh().outcome is Outcome.UNCHANGED


def test_unchanged_rows_make_no_version_but_are_noted(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(many(50), refresh_every=HOUR)
    prices.refresh()
    before = host.line(prices)
    assert before.checked is not None
    writes = host.records.calls["put_many"]
    result = prices.refresh(force=True)
    after = host.line(prices)
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


def test_another_process_that_refreshes_is_told(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare()
    results: list[RefreshResult] = []
    other = host.other()
    prices.source.during = lambda: results.append(Refresh(prices, other, force=True).run())
    assert prices.refresh().outcome is Outcome.REFRESHED
    (result,) = results
    assert (result.outcome, result.ok) == (Outcome.LOCKED, True)
    assert result.holder is not None
    assert "/" in result.holder
    assert "since" in result.holder
    assert prices.source.loads == 1


def test_a_refresh_may_wait_for_another_one(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    lock = host.other().kv.lock(prices.layout("t").lock)
    lock.acquire()
    queue = host.kv.lock(prices.layout("t").lock)

    thread, answers = in_thread(lambda: prices.refresh(wait=20))
    wait_until(lambda: len(queue.queue()) == 2, what="the refresh in the queue")
    lock.release()
    thread.join(20)
    assert answers[0].outcome is Outcome.REFRESHED


def test_who_waited_for_another_refresh_does_not_load_again(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    other = host.other()
    waiting: list[Any] = []

    def let_somebody_wait() -> None:
        waiting.append(in_thread(lambda: Refresh(prices, other, wait=20).run()))
        queue = host.kv.lock(prices.layout("t").lock)
        wait_until(lambda: len(queue.queue()) == 2, what="the other refresh in the queue")

    prices.source.during = let_somebody_wait
    assert prices.refresh().outcome is Outcome.REFRESHED
    ((thread, answers),) = waiting
    thread.join(20)
    assert (answers[0].outcome, answers[0].version) == (Outcome.FRESH, 1)
    assert prices.source.loads == 1


def test_a_failing_source_changes_nothing_that_readers_see(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    prices.refresh()
    before = host.line(prices)
    prices.source.error = RuntimeError("the source is down")
    result = prices.refresh(force=True)
    assert (result.outcome, result.ok, result.version) == (Outcome.FAILED, False, 1)
    assert result.error == "RuntimeError: the source is down"
    after = host.line(prices)
    assert (after.current, after.checked) == (before.current, before.checked)
    assert after.attempt is not None
    assert "the source is down" in after.attempt.error
    assert host.listener.failures == [("prices", "refresh", "RuntimeError: the source is down")]
    assert host.kv.lock(prices.layout("t").lock).holder() is None


def test_failures_hold_all_nodes_back_longer_and_longer(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=timedelta(seconds=15))
    prices.source.error = RuntimeError("down")
    delays = []
    for failures in (1, 2, 3, 4):
        assert prices.refresh().outcome is Outcome.FAILED
        attempt = host.line(prices).attempt
        assert attempt is not None
        assert attempt.failures == failures
        delays.append(attempt.next_at - attempt.at)
        held = Refresh(prices, host.other()).run()
        assert (held.outcome, held.ok, held.next_due) == (Outcome.BACKOFF, True, attempt.next_at)
        assert held.error is not None
        assert held.error.startswith("RuntimeError: down (on ")
        assert prices.source.loads == failures
        host.age(prices, 3600)
    assert delays == pytest.approx([5, 10, 15, 15])
    prices.source.error = None
    assert prices.refresh().outcome is Outcome.REFRESHED
    assert host.line(prices).attempt is None


def test_force_and_newer_requests_of_people_ignore_the_back_off(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    prices.request_refresh()
    prices.source.error = RuntimeError("down")
    assert prices.refresh().outcome is Outcome.FAILED
    assert prices.refresh().outcome is Outcome.BACKOFF
    assert prices.refresh(force=True).outcome is Outcome.FAILED
    prices.request_refresh()
    assert prices.refresh().outcome is Outcome.FAILED
    request_load(prices, host.stores("default"), repair=True)
    assert prices.refresh().outcome is Outcome.BACKOFF


def test_without_a_period_it_loads_only_on_request(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=None)
    first = prices.refresh()
    assert (first.outcome, first.next_due) == (Outcome.REFRESHED, None)
    host.age(prices, 10 * 365 * 86400)
    assert prices.refresh().outcome is Outcome.FRESH
    prices.request_refresh()
    assert prices.refresh().outcome is Outcome.UNCHANGED
    assert prices.refresh().outcome is Outcome.FRESH
    assert host.kv.get(prices.layout("t").request) is None


def test_a_request_during_a_load_is_not_answered_by_it(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    prices.refresh()
    prices.request_refresh()
    prices.source.during = prices.request_refresh
    assert prices.refresh().outcome is Outcome.UNCHANGED
    assert host.line(prices).pending is not None
    assert prices.refresh().outcome is Outcome.UNCHANGED
    assert host.line(prices).pending is None
    assert prices.refresh().outcome is Outcome.FRESH
    assert prices.source.loads == 3


def test_the_load_notes_which_request_it_answers(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=HOUR)
    prices.request_refresh()
    request = host.kv.get(prices.layout("t").request)
    assert request is not None
    prices.refresh()
    checked = host.line(prices).checked
    assert checked is not None
    assert checked.request_revision == request.mod_revision
    assert host.line(prices).request is None


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
    assert host.line(prices).current is None


def test_an_unknown_alias_is_a_failure_and_no_exception(host: FakeHost, declare: Callable[..., Any]) -> None:
    assert "no alias 'nowhere'" in str(declare(using="nowhere").refresh().error)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)])
def test_the_lock_is_released_when_a_load_is_aborted(
    host: FakeHost, declare: Callable[..., Any], error: BaseException
) -> None:
    prices = declare()
    prices.source.error = error
    with pytest.raises(type(error)):
        prices.refresh()
    assert host.kv.lock(prices.layout("t").lock).holder() is None
    assert host.line(prices).attempt is None


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


# --- validators, dry run, progress -----------------------------------------------------------------------------------


def test_validators_see_the_old_rows_and_the_new_ones(host: FakeHost, declare: Callable[..., Any]) -> None:
    seen: list[Any] = []

    def look(old: Any, new: Any) -> None:
        seen.append((None if old is None else dict(old), dict(new)))

    prices = declare({"a": 1}, validators=[look])
    publish(prices)
    publish(prices, {"a": 2})
    assert seen == [(None, {"a": 1}), ({"a": 1}, {"a": 2})]


def test_the_old_rows_are_fetched_only_when_looked_at(host: FakeHost, declare: Callable[..., Any]) -> None:
    lengths: list[int] = []
    prices = declare(many(3000), validators=[lambda old, new: lengths.append(len(old or ()))])
    publish(prices)
    host.records.calls.clear()
    publish(prices, many(2000))
    without = host.records.calls["get_many"]
    assert lengths == [0, 3000]

    reading = declare(many(3000), name="reading", validators=[lambda old, new: lengths.append(len(dict(old or {})))])
    publish(reading)
    host.records.calls.clear()
    publish(reading, many(2000))
    assert host.records.calls["get_many"] > without


def test_refused_rows_are_not_published(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(many(10), validators=[MinRows(5)])
    publish(prices)
    result = publish(prices, many(2))
    assert result.outcome is Outcome.FAILED
    assert result.error == "ValidationFailed: MinRows: 2 rows, and at least 5 are required"
    assert history(host, prices) == [1]
    assert host.line(prices).attempt is not None


def test_validators_do_not_keep_a_lost_version_lost(host: FakeHost, declare: Callable[..., Any]) -> None:
    olds: list[Any] = []

    def compare(old: Any, new: Any) -> None:
        olds.append(None if old is None else dict(old))

    prices = declare(many(10), validators=[compare])
    publish(prices)
    host.records.inner.truncate()
    assert publish(prices).outcome is Outcome.REFRESHED
    assert olds[-1] is None


def test_a_dry_run_writes_nothing(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(many(100), validators=[MinRows(5)])
    revision = host.kv.range("t").revision

    def dry() -> RefreshResult:
        return Refresh(prices, host, dry_run=True).run()

    result = dry()
    assert (result.outcome, result.dry_run, result.version, result.rows) == (Outcome.REFRESHED, True, 1, 100)
    assert result.bytes_written == result.bytes_total > 0
    prices.source.rows = many(2)
    assert dry().outcome is Outcome.FAILED
    prices.source.rows = many(100, bad=object())
    assert "EncodeError" in str(dry().error)
    assert host.kv.range("t").revision == revision
    assert host.ttls(prices) == {}

    publish(prices, many(100))
    assert (dry().outcome, dry().version) == (Outcome.UNCHANGED, 1)
    revision, records = host.kv.range("t").revision, host.ttls(prices)
    prices.source.rows = many(100, k7="new")
    assert (dry().outcome, dry().version) == (Outcome.REFRESHED, 2)
    assert (host.kv.range("t").revision, host.ttls(prices)) == (revision, records)
    assert not host.listener.publications[1:]


def test_progress_is_told_in_phases_up_to_the_total(host: FakeHost, declare: Callable[..., Any]) -> None:
    told: list[tuple[str, int, int | None]] = []
    prices = declare()
    prices.source.rows = list(many(2500).items())
    result = Refresh(prices, host, progress=lambda *each: told.append(each)).run()
    assert result.outcome is Outcome.REFRESHED
    assert told[0] == ("load", 0, None)
    assert list(dict.fromkeys(phase for phase, _, _ in told)) == ["load", "encode", "write"]
    for phase in ("load", "encode", "write"):
        steps = [done for name, done, _ in told if name == phase]
        assert steps == sorted(steps)
        assert [step[1:] for step in told if step[0] == phase][-1] == (2500, 2500)


def test_progress_may_stop_a_refresh(host: FakeHost, declare: Callable[..., Any]) -> None:
    def stop(phase: str, done: int, total: int | None) -> None:
        raise RuntimeError(f"enough of {phase}")

    prices = declare(many(2500))
    result = Refresh(prices, host, progress=stop).run()
    assert result.error == "RuntimeError: enough of load"


# --- fencing ---------------------------------------------------------------------------------------------------------


def test_a_lock_that_was_lost_is_taken_again_when_nobody_published(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare()
    prices.source.during = lambda: drop_lock(host, prices)
    result = prices.refresh()
    assert (result.outcome, result.version) == (Outcome.REFRESHED, 1)
    assert host.listener.locks_lost == ["prices"]
    assert host.kv.lock(prices.layout("t").lock).holder() is None


def test_a_lock_that_was_lost_is_taken_again_for_unchanged_rows(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare()
    publish(prices)
    prices.source.during = lambda: drop_lock(host, prices)
    assert publish(prices).outcome is Outcome.UNCHANGED


def test_a_lease_that_ran_out_during_the_load_is_no_obstacle(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare()

    def expire() -> None:
        (held,) = host.kv.range(prices.layout("t").lock + "/", prefix=True).kvs
        host.engine.lease_revoke(held.lease)

    prices.source.during = expire
    assert prices.refresh().outcome is Outcome.REFRESHED
    assert prices.refresh(force=True).outcome is Outcome.UNCHANGED


def test_a_refresh_whose_lock_somebody_else_has_is_fenced(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare()
    lock = host.other().kv.lock(prices.layout("t").lock)

    def steal() -> None:
        drop_lock(host, prices)
        lock.acquire(timeout=0)

    prices.source.during = steal
    result = prices.refresh()
    assert (result.outcome, result.ok) == (Outcome.FENCED, False)
    assert result.error is not None
    assert "now held by" in result.error
    assert lock.held
    lock.release()
    line = host.line(prices)
    assert (line.current, line.checked, line.attempt) == (None, None, None)


def test_a_refresh_that_was_overtaken_is_fenced(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare({"a": "old"})
    other = host.other()

    def overtake() -> None:
        drop_lock(host, prices)
        assert publish(prices, {"a": "new"}, host=other).version == 1
        prices.source.rows = {"a": "old"}

    prices.source.during = overtake
    result = prices.refresh()
    assert result.outcome is Outcome.FENCED
    assert result.error is not None
    assert "version 1 by" in result.error
    assert history(host, prices) == [1]
    assert host.listener.publications == []
    assert other.listener.publications == [("prices", 1)]
    assert host.line(prices).attempt is None


def test_a_load_older_than_one_that_found_nothing_new_is_fenced(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare({"a": "kept"})
    publish(prices)
    other = host.other()

    def overtake() -> None:
        drop_lock(host, prices)
        assert publish(prices, {"a": "kept"}, host=other).outcome is Outcome.UNCHANGED
        prices.source.rows = {"a": "outdated"}

    prices.source.during = overtake
    result = prices.refresh(force=True)
    assert result.outcome is Outcome.FENCED
    assert history(host, prices) == [1]


def test_a_pinned_dataset_keeps_both_of_two_overlapping_publications_apart(
    host: FakeHost, declare: Callable[..., Any]
) -> None:
    prices = declare({"a": 1})
    publish(prices)
    publish(prices, {"a": 2})
    rollback(prices, host.stores("default"), 1)
    other = host.other()

    def overtake() -> None:
        drop_lock(host, prices)
        assert publish(prices, {"a": "newer"}, host=other).version == 3
        prices.source.rows = {"a": "older"}

    prices.source.during = overtake
    assert prices.refresh(force=True).outcome is Outcome.FENCED
    roots = {each.announcement.version: each.announcement.root for each in prices.history()}
    assert sorted(roots) == [1, 2, 3]
    assert publish(prices, {"a": "newer"}, host=other).outcome is Outcome.UNCHANGED


@pytest.mark.parametrize("pinned_before", [True, False])
def test_a_pin_set_or_removed_during_a_load_fences_it(
    host: FakeHost, declare: Callable[..., Any], pinned_before: bool
) -> None:
    prices = declare({"a": 1})
    publish(prices)
    publish(prices, {"a": 2})
    if pinned_before:
        prices.rollback(1)
    prices.source.during = prices.unpin if pinned_before else lambda: prices.rollback(1)
    result = publish(prices, {"a": 3})
    assert result.outcome is Outcome.FENCED
    assert "pinned" in str(result.error)
    assert history(host, prices) == [2, 1]
    assert host.line(prices).attempt is None


def test_a_failure_says_what_failed_even_when_the_lock_was_lost_as_well(
    host: FakeHost, declare: Callable[..., Any]
) -> None:
    prices = declare()
    prices.source.during = lambda: drop_lock(host, prices)
    prices.source.error = RuntimeError("down")
    assert prices.refresh().error == "RuntimeError: down"


def test_a_failure_does_not_hold_back_after_somebody_elses_success(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare()

    def overtake() -> None:
        drop_lock(host, prices)
        assert publish(prices, host=host.other()).outcome is Outcome.REFRESHED
        prices.source.error = RuntimeError("down")

    prices.source.during = overtake
    assert prices.refresh().outcome is Outcome.FAILED
    assert host.line(prices).attempt is None


# --- unknown outcomes ------------------------------------------------------------------------------------------------


def fail_announcing(host: FakeHost, error: Exception, *, applied: bool, times: int) -> None:
    """Let the transactions fail that come next after a version was sealed: those that announce it."""

    def arm(*args: Any, **options: Any) -> None:
        if args[1] is None:  # touched for good: sealed
            host.records.after.pop("touch_many")
            host.engine.fail("txn", error, applied=applied, times=times)

    host.records.after["touch_many"] = arm


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
    line = host.line(prices)
    assert line.current is not None
    assert line.current.version == 2
    copy = host.blocks(prices).read_copy()
    assert copy is not None
    assert (copy.announcement.version, copy.mod_revision) == (2, line.current_revision)
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


# --- the announcement copy and the epoch -----------------------------------------------------------------------------


def test_the_copy_in_the_record_store_follows_each_publication(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare({"a": 1})
    orders = []
    for value in (1, 2, 3):
        publish(prices, {"a": value})
        copy = host.blocks(prices).read_copy()
        assert copy is not None
        assert copy.announcement == host.line(prices).current
        orders.append(copy.order)
    assert orders == sorted(orders)


def test_the_copy_goes_only_forward(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare({"a": 1})
    publish(prices, {"a": 1})
    old = host.line(prices)
    publish(prices, {"a": 2})
    new = host.line(prices)
    blocks = host.blocks(prices)
    assert old.current is not None
    assert blocks.write_copy(old.current, old.current_revision) is False
    copy = blocks.read_copy()
    assert copy is not None
    assert copy.announcement == new.current


def test_a_damaged_copy_is_replaced(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare({"a": 1})
    publish(prices)
    for damaged in (b"{", b"[]", b'{"mod_revision": 1}', 7):
        host.records.put(prices.layout("t").announcement_copy, damaged)
        assert host.blocks(prices).read_copy() is None
        publish(prices, {"a": repr(damaged)})
        copy = host.blocks(prices).read_copy()
        assert copy is not None
        assert copy.announcement == host.line(prices).current


@pytest.mark.parametrize("before", [None, b"damaged"])
def test_of_two_writers_of_the_copy_the_newer_announcement_wins(
    host: FakeHost, declare: Callable[..., Any], before: bytes | None
) -> None:
    prices = declare({"a": 1})
    publish(prices, {"a": 1})
    old = host.line(prices)
    publish(prices, {"a": 2})
    new = host.line(prices)
    assert old.current is not None
    assert new.current is not None
    if before is None:
        host.records.inner.delete(prices.layout("t").announcement_copy)
    else:
        host.records.inner.put(prices.layout("t").announcement_copy, before)

    def slip_in(*args: Any, **options: Any) -> None:
        host.records.before.pop("put")
        host.blocks(prices).write_copy(new.current, new.current_revision)  # type: ignore[arg-type]

    host.records.before["put"] = slip_in
    assert host.blocks(prices).write_copy(old.current, old.current_revision) is False
    copy = host.blocks(prices).read_copy()
    assert copy is not None
    assert copy.announcement == new.current


def test_an_emptied_coordination_store_starts_a_new_epoch(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare({"a": 1})
    for value in range(3):
        publish(prices, {"a": value})
    host.aliases["default"].empty_engine()
    result = publish(prices, {"a": 2})
    line, copy = host.line(prices), host.blocks(prices).read_copy()
    assert (result.outcome, result.version) == (Outcome.REFRESHED, 4)
    assert line.current is not None
    assert copy is not None
    assert line.current.epoch == 2
    assert copy.announcement == line.current
    assert publish(prices, {"a": 3}).version == 5
    assert host.line(prices).current.epoch == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("rows", [{"a": 1}, {"a": "something else"}])
def test_a_restored_coordination_store_starts_a_new_epoch(
    host: FakeHost, declare: Callable[..., Any], rows: Any
) -> None:
    prices = declare({"a": 1})
    publish(prices, {"a": 1})
    backup = host.kv.range("", prefix=True).kvs
    publish(prices, {"a": 2})
    host.aliases["default"].empty_engine()
    for item in backup:
        host.kv.put(item.key, item.value)
    result = publish(prices, rows)
    line, copy = host.line(prices), host.blocks(prices).read_copy()
    assert result.outcome is Outcome.REFRESHED
    assert line.current is not None
    assert copy is not None
    assert line.current.epoch == 2
    assert copy.announcement == line.current
    assert publish(prices).outcome is Outcome.UNCHANGED


def test_going_back_in_a_restored_store_starts_a_new_epoch(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare({"a": 1})
    publish(prices, {"a": 1})
    backup = host.kv.range("", prefix=True).kvs
    publish(prices, {"a": 2})
    host.aliases["default"].empty_engine()
    for item in backup:
        host.kv.put(item.key, item.value)
    prices.rollback(1)
    copy = host.blocks(prices).read_copy()
    assert copy is not None
    assert (copy.announcement.version, copy.announcement.epoch) == (1, 2)


def test_a_version_that_no_process_could_load_is_not_published(host: FakeHost, declare: Any) -> None:
    def prepare(self: Any, rows: Any) -> None:
        if not rows["b"]:
            raise ValueError("b is 0")

    prices = declare({"a": 4, "b": 2}, prepare=prepare)
    assert publish(prices).version == 1
    result = publish(prices, {"a": 4, "b": 0})
    assert (result.outcome, result.version) == (Outcome.FAILED, 1)
    assert result.error == "ValidationFailed: prepare() raised ValueError: b is 0"


class Price(NamedTuple):
    amount: int


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize(
    ("option", "value", "good", "bad", "error"),
    [
        (
            "prepare",
            lambda self, rows: rows["k1"]["n"],
            {"n": 1},
            {},
            "ValidationFailed: prepare() raised KeyError: 'n'",
        ),
        ("rows", Price, Price(1)._asdict(), 1, "ValidationFailed: no process could load the new rows: "),
    ],
    ids=["prepare", "row type"],
)
def test_a_dry_run_fails_as_the_refresh_would(
    host: FakeHost, declare: Any, published: bool, option: str, value: Any, good: Any, bad: Any, error: str
) -> None:
    rows = {f"k{number}": good for number in range(100)}
    prices = declare(rows)
    setattr(type(prices), option, value)
    if published:
        assert publish(prices).version == 1
    prices.source.rows = rows | {"k1": bad}
    before = host.kv.range("t").revision, host.ttls(prices)
    dry = Refresh(prices, host, dry_run=True).run()
    assert (host.kv.range("t").revision, host.ttls(prices)) == before
    real = publish(prices)
    assert (dry.outcome, real.outcome) == (Outcome.FAILED, Outcome.FAILED)
    assert str(real.error).startswith(error)
    assert dry.error == real.error


def test_whether_the_version_is_known_is_told(host: FakeHost, declare: Any) -> None:
    prices = declare()
    prices.source.error = RuntimeError("down")
    failed = prices.refresh()
    assert (failed.version, failed.version_known) == (None, True)
    host.engine.break_("range", ClusterError("away"))
    away = prices.refresh()
    assert (away.version, away.version_known) == (None, False)


def test_a_failure_that_has_been_told_is_not_told_again(host: FakeHost, declare: Any) -> None:
    prices = declare()
    prices.source.error = RuntimeError("down")
    first = Refresh(prices, host, force=True).run()
    again = Refresh(prices, host, force=True, told=first.error).run()
    assert (again.outcome, again.error) == (Outcome.FAILED, first.error)
    prices.source.error = RuntimeError("still down")
    Refresh(prices, host, force=True, told=again.error).run()
    assert [said for _, _, said in host.listener.failures] == ["RuntimeError: down", "RuntimeError: still down"]
