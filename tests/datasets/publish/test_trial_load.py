"""What is looked at before a version is published: validators, dry runs, progress, and whether it can be loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state.status import Outcome, RefreshResult
from django_etcdaero.datasets.validators import MinRows
from django_etcdaero.exceptions import ClusterError, DeadlineExceeded
from tests.datasets.hosting import FakeHost, history, many, publish

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
    assert host.state(prices).attempt is not None


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


# --- the announcement copy and the epoch -----------------------------------------------------------------------------


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
        ("row_type", Price, Price(1), 1, "EncodeError: row 'k1' does not fit the row type Price: "),
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


@pytest.mark.parametrize("error", [ClusterError("another store is away"), DeadlineExceeded("late")])
def test_what_prepare_meets_elsewhere_says_nothing_about_the_stores_of_the_dataset(
    host: FakeHost, declare: Any, error: Exception
) -> None:
    def prepare(self: Any, rows: Any) -> None:
        raise error

    refresh = Refresh(declare(prepare=prepare), host, force=True)
    assert refresh.run().outcome is Outcome.FAILED
    assert not refresh.store_away
