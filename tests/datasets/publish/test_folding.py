"""Deltas are folded into blocks between two refreshes, and no change waits for that."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from django_etcdaero.datasets.blocks.applied import Applied
from django_etcdaero.datasets.publish import base as bases
from django_etcdaero.datasets.publish import folding
from django_etcdaero.datasets.publish.folding import Left, fold_on
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state.status import Outcome, RefreshResult
from tests.datasets.hosting import FakeHost, many
from tests.waiting import wait_until

from .changing import declared
from .test_changes import manifest_of, stored


@pytest.fixture
def prices(host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A dataset of 64 blocks, with as many deltas as are folded when there is time for it."""
    monkeypatch.setattr(bases, "MOST_DELTAS", 8)
    monkeypatch.setattr(folding, "KEYS", 20)
    monkeypatch.setattr("django_etcdaero.datasets.blocks.folding.AT_ONCE", 8)
    monkeypatch.setattr(folding, "AT_ONCE", 8)
    dataset = declared(declare, many(2000))
    assert serve(dataset, host).ok
    for number in range(6):
        change(dataset, number)
        assert serve(dataset, host).changes
    assert len(manifest_of(host, dataset).deltas) == 6
    return dataset


def change(dataset: Any, number: int) -> None:
    dataset.table.put(**{f"k{number * 10 + at}": {"n": -number} for at in range(10)}, **{f"x{number}": {"n": 0}})
    dataset.table.remove(f"k{number + 1000}")


def serve(dataset: Any, host: FakeHost) -> RefreshResult:
    """Refresh as a process does that serves."""
    return Refresh(dataset, host, force=True, serving=True).run()  # type: ignore[arg-type]


def fold(dataset: Any, host: FakeHost, steps: int = 1000) -> int:
    """Fold until nothing is left, or so many steps; return how many it took."""
    for number in range(steps):
        if fold_on(dataset, host.stores("default")) is not Left.MORE:
            return number + 1
    return steps


def test_it_takes_steps_and_the_next_refresh_announces_it(host: FakeHost, prices: Any) -> None:
    before = manifest_of(host, prices)
    assert serve(prices, host).outcome is Outcome.UNCHANGED  # the process that serves does not do it here
    assert fold(prices, host) > 8
    assert manifest_of(host, prices) == before
    result = Refresh(prices, host, serving=True).run()  # type: ignore[arg-type]
    assert (result.outcome, result.changes) == (Outcome.REFRESHED, True)  # though no load was due
    assert manifest_of(host, prices).deltas == ()
    assert stored(host, prices) == prices.table.rows
    assert fold_on(prices, host.stores("default")) is Left.NOTHING
    assert prices.refresh(full=True).outcome is Outcome.UNCHANGED  # to the byte what everything gives
    ttls = host.ttls(prices)
    assert all(ttls[digest] is None for digest in manifest_of(host, prices).digests())


def test_changes_go_on_meanwhile_and_stay_beside_it(host: FakeHost, prices: Any) -> None:
    before = manifest_of(host, prices)
    fold(prices, host, 5)
    prices.table.put(k1={"n": "later"}, k1001={"n": "back"}, new={"n": 1})
    prices.table.remove("k12", "x1")
    assert serve(prices, host).changes  # beside what is being folded
    assert manifest_of(host, prices).deltas[:6] == before.deltas
    fold(prices, host)
    assert serve(prices, host).outcome is Outcome.REFRESHED
    after = manifest_of(host, prices)
    assert len(after.deltas) == 1
    assert stored(host, prices) == prices.table.rows
    prices.table.put(k2={"n": "then"})
    prices.table.remove("k1001")
    assert serve(prices, host).changes
    assert stored(host, prices) == prices.table.rows
    result = prices.refresh(full=True)
    assert (result.outcome, result.drift) == (Outcome.UNCHANGED, 0)


def test_a_change_beyond_the_limit_goes_on_from_what_was_folded(host: FakeHost, prices: Any) -> None:
    fold(prices, host)
    for number in range(3):
        prices.table.put(**{f"k{number}": {"n": "more"}})
        assert serve(prices, host).changes
    assert len(manifest_of(host, prices).deltas) == 3  # of eight there are six that were folded
    assert stored(host, prices) == prices.table.rows
    assert prices.refresh(full=True).drift == 0


@pytest.mark.parametrize("event", ["full load", "rollback", "another process"])
def test_it_is_dropped_when_something_else_was_announced(host: FakeHost, prices: Any, event: str) -> None:
    fold(prices, host, 5)
    if event == "full load":
        prices.table.silent = True
        prices.table.put(k7={"n": "silent"})
        assert prices.refresh(full=True).drift == 1
    elif event == "rollback":
        prices.rollback(3)
    else:
        bases.forget(prices.layout("t"))
        prices.table.put(k7={"n": "other"})
        assert Refresh(prices, host.other(), force=True).run().changes  # type: ignore[arg-type]
        bases.forget(prices.layout("t"))
    announced = prices.history()[0].version
    assert fold_on(prices, host.stores("default")) is Left.NOTHING
    assert prices.history()[0].version == announced
    prices.unpin()
    assert serve(prices, host).ok
    fold(prices, host)
    assert serve(prices, host).ok
    assert stored(host, prices) == prices.table.rows


def test_a_block_that_is_missing_is_asked_to_be_repaired(host: FakeHost, prices: Any) -> None:
    concerned = next(iter(folding_names(host, prices)))
    host.records.inner.delete(prices.layout("t").record(concerned))
    assert fold(prices, host) > 1
    asked = host.kv.get(prices.layout("t").request)
    assert asked is not None
    assert b'"repair":true' in asked.value.replace(b" ", b"")
    assert serve(prices, host).ok
    assert stored(host, prices) == prices.table.rows
    assert concerned in host.ttls(prices) or concerned not in manifest_of(host, prices).blocks


def folding_names(host: FakeHost, dataset: Any) -> set[bytes]:
    """Return blocks that deltas concern."""
    manifest = manifest_of(host, dataset)
    return set(manifest.blocks) - set(Applied(manifest, host.blocks(dataset).fetch).blocks)


def test_what_was_written_and_is_gone_is_not_announced(host: FakeHost, prices: Any) -> None:
    before = manifest_of(host, prices)
    known = set(host.ttls(prices))
    fold(prices, host)
    made = sorted(set(host.ttls(prices)) - known)
    assert all(host.ttls(prices)[digest] for digest in made)  # killed here it would vanish
    host.records.inner.delete(prices.layout("t").record(made[0]))
    assert not serve(prices, host).ok
    assert manifest_of(host, prices) == before
    assert serve(prices, host).outcome is Outcome.UNCHANGED
    fold(prices, host)
    assert serve(prices, host).outcome is Outcome.REFRESHED
    assert manifest_of(host, prices).deltas == ()
    assert stored(host, prices) == prices.table.rows


def test_a_process_that_refreshes_once_lets_others_go_first(host: FakeHost, prices: Any) -> None:
    lock, comes = host.other().kv.lock(prices.layout("t").lock), []

    def somebody_comes(*args: Any, **options: Any) -> None:
        if not comes:
            comes.append(threading.Thread(target=lock.acquire, kwargs={"timeout": 30}))
            comes[0].start()
            wait_until(lambda: len(lock.queue()) == 2, what="somebody in line for the lock")

    host.records.before["put_many"] = somebody_comes
    assert prices.refresh(force=True).outcome is Outcome.UNCHANGED
    comes[0].join(30)
    assert lock.held
    lock.release()
    assert len(manifest_of(host, prices).deltas) == 6
    assert prices.refresh(force=True).outcome is Outcome.REFRESHED
    assert manifest_of(host, prices).deltas == ()
    assert stored(host, prices) == prices.table.rows
