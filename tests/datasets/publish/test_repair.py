"""The repair of a version that readers are held on by a pin: the source is not loaded where that can repair nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.read.live import live_state
from django_etcdaero.datasets.state.schedule import request_load
from django_etcdaero.datasets.state.status import Outcome
from tests.datasets.hosting import FakeHost, follow, publish

REFUSED = "CorruptBlock: version 1 is pinned, damaged and cannot be repaired from the source: unpin"
FIRST, SECOND = {"a": 1}, {"a": 2}


@pytest.fixture
def pinned(host: FakeHost, declare: Callable[..., Any]) -> Any:
    """A dataset whose readers are held on version 1; the source gives the rows of version 2."""
    prices = declare(FIRST)
    publish(prices)
    publish(prices, SECOND)
    prices.rollback(1)
    return prices


def damage(host: FakeHost, dataset: Any, part: str = "block", *, remove: bool = False) -> None:
    """Damage a part of the version that readers are to hold."""
    current = host.state(dataset).current
    assert current is not None
    manifest = Manifest.load(host.blocks(dataset).fetch, bytes.fromhex(current.root))
    digest = {"block": manifest.blocks[0], "page": manifest.pages[0], "root": manifest.root_digest}[part]
    key = dataset.layout("t").record(digest)
    if remove:
        assert host.records.inner.delete(key)
    else:
        host.records.inner.put(key, b"damaged")


def ask(host: FakeHost, dataset: Any) -> None:
    """Let a process start that cannot load the version, and ask for a repair."""
    live_state(dataset).forget()
    follow(dataset, host.other()).step()
    pending = host.state(dataset).pending
    assert pending is not None
    assert pending.repair


@pytest.mark.parametrize("part", ["block", "page", "root"])
@pytest.mark.parametrize("remove", [False, True], ids=["damaged", "missing"])
def test_the_source_is_loaded_once_however_many_processes_ask(
    host: FakeHost, pinned: Any, part: str, remove: bool
) -> None:
    damage(host, pinned, part, remove=remove)
    ask(host, pinned)
    before = pinned.source.loads
    assert pinned.refresh().outcome is Outcome.UNCHANGED  # the source might have gone back to those rows
    assert pinned.source.loads == before + 1
    for _ in range(3):
        ask(host, pinned)
        result = pinned.refresh()
        assert (result.outcome, result.error) == (Outcome.FAILED, REFUSED)
        state = host.state(pinned)
        assert state.pending is None
        assert state.attempt is not None
        assert state.attempt.error == REFUSED
        host.age(pinned, 400)
    assert pinned.source.loads == before + 1
    assert ("prices", "refresh", REFUSED) in host.listener.failures


def test_a_load_that_gives_the_rows_repairs(host: FakeHost, pinned: Any) -> None:
    damage(host, pinned)
    ask(host, pinned)
    pinned.source.rows = FIRST
    assert pinned.refresh().outcome is Outcome.REFRESHED
    reader = follow(pinned, host.other())
    reader.step()
    assert (pinned.snapshot().version, dict(pinned)) == (1, FIRST)


def test_what_the_last_load_gave_is_repaired_by_another_load(host: FakeHost, pinned: Any) -> None:
    assert publish(pinned, FIRST).version == 3
    damage(host, pinned)
    ask(host, pinned)
    assert pinned.refresh().outcome is Outcome.REFRESHED
    follow(pinned, host.other()).step()
    assert (pinned.snapshot().version, dict(pinned)) == (1, FIRST)


def test_what_is_wanted_for_another_reason_is_loaded(host: FakeHost, pinned: Any) -> None:
    damage(host, pinned)
    publish(pinned)

    def loads(**options: Any) -> int:
        before = pinned.source.loads
        assert pinned.refresh(**options).ok
        after: int = pinned.source.loads
        return after - before

    ask(host, pinned)
    assert loads(force=True) == 1
    pinned.request_refresh()  # a person's request stays one ...
    request_load(pinned, host.stores("default"), repair=True)
    assert loads() == 1
    ask(host, pinned)
    pinned.request_refresh()  # ... in whatever order
    assert loads() == 1
    ask(host, pinned)
    type(pinned).refresh_every = timedelta(hours=1)
    host.age(pinned, 3600)
    assert loads() == 1


def test_without_a_pin_every_repair_is_a_load(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(FIRST)
    publish(prices)
    damage(host, prices)
    ask(host, prices)
    assert prices.refresh().outcome is Outcome.REFRESHED
