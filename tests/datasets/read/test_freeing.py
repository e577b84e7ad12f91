"""Old versions are emptied, but for what somebody holds."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest

from django_etcdaero.datasets.blocks import held_freeing
from django_etcdaero.datasets.blocks.held import SLICE
from django_etcdaero.datasets.blocks.held_freeing import free_rows
from django_etcdaero.datasets.read import freeing
from tests.datasets.hosting import FakeHost, many, publish
from tests.waiting import wait_until


class Freed:
    """Tells when it is freed."""

    def __init__(self, freed: list[int], number: int) -> None:
        self._freed, self._number = freed, number

    def __del__(self) -> None:
        self._freed.append(self._number)


HOLDERS: dict[str, Callable[[dict[Any, Any]], Any]] = {
    "the rows": lambda rows: rows,
    "a view": lambda rows: rows.items(),
    "keys": lambda rows: rows.keys(),
    "an iterator": lambda rows: iter(rows),
    "an iterator of values": lambda rows: iter(rows.values()),
    "a proxy": MappingProxyType,
    "a bound method": lambda rows: rows.get,
    "a closure": lambda rows: lambda: rows,
    "a container": lambda rows: [rows],
}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_rows_that_somebody_holds_are_let_alone(hold: Callable[[dict[Any, Any]], Any]) -> None:
    rows = {number: number for number in range(2000)}
    held = hold(rows)
    free_rows(rows)
    assert len(rows) == 2000
    del held
    free_rows(rows)
    assert rows == {}


def test_rows_nobody_holds_are_freed_all(declare: Any) -> None:
    freed: list[int] = []
    rows = {number: Freed(freed, number) for number in range(SLICE * 3 + 1)}
    free_rows(rows)
    assert len(freed) == SLICE * 3 + 1


SERVED: dict[str, Callable[[Any], Any]] = {
    "a snapshot": lambda dataset: dataset.snapshot(),
    "items of the dataset": lambda dataset: dataset.items(),
    "an iterator of the dataset": lambda dataset: iter(dataset),
    "values of a snapshot": lambda dataset: dataset.snapshot().values(),
    "an index that is the rows": lambda dataset: dataset.index,
}


@pytest.mark.parametrize("hold", SERVED.values(), ids=SERVED)
def test_what_readers_hold_of_an_old_version_stays_whole(
    host: FakeHost, declare: Any, step: Any, hold: Callable[[Any], Any]
) -> None:
    prices = declare(many(1500), prepare=lambda self, rows: rows)
    look = step(prices)
    publish(prices)
    look()
    expected = list(hold(prices))
    held = hold(prices)
    for value in range(3):
        publish(prices, {"a": value})
        look()
    assert list(held) == expected
    assert len(expected) == 1500


def references_through_one_more() -> int:
    def one_more(rows: dict[Any, Any]) -> int:
        references: int = held_freeing._references(rows)
        return references

    rows: dict[Any, Any] = {}
    return one_more(rows)


def test_an_old_version_that_nobody_holds_is_emptied(
    host: FakeHost, declare: Any, step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied: list[int] = []
    real = freeing.free_rows

    def spied(rows: dict[Any, Any]) -> None:
        size, before = len(rows), sys.getrefcount(rows)
        real(rows)
        emptied.append(size - len(rows))
        assert before

    prices = declare(many(1500))
    look = step(prices)
    publish(prices)
    look()
    # The spy may count as a holder, according to the version of Python; the threshold is raised by as much.
    monkeypatch.setattr(held_freeing, "_ALONE", references_through_one_more())
    monkeypatch.setattr(freeing, "free_rows", spied)
    monkeypatch.setattr(freeing, "MOST_ENTRIES", 0)
    monkeypatch.setattr(freeing, "AFTER", 0.0)
    publish(prices, {"a": 1})
    look()
    assert emptied == [1500, 32, 32, 32]  # the rows, the keys of each block, and digest and size of each
    publish(prices, {"a": 2})
    with contextlib.nullcontext(prices.snapshot()) as held:
        look()
        assert emptied[4:] == [0, 1, 1, 1]
        assert dict(held) == {"a": 1}


def test_what_is_large_is_freed_some_time_after_the_swap(
    host: FakeHost, declare: Any, step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed: list[int] = []
    monkeypatch.setattr(freeing, "free_rows", lambda rows: freed.append(len(rows)))
    monkeypatch.setattr(freeing, "MOST_ENTRIES", 1000)
    prices = declare(many(1500))
    look = step(prices)
    for value in range(2):
        publish(prices, {"a": value})
        look()
    assert freed == []
    publish(prices, many(1500))
    look()
    publish(prices, {"a": 3})
    look()
    assert (prices["a"], freed) == (3, [])
    assert look.__self__.follower.next_at < math.inf  # type: ignore[attr-defined]
    wait_until(lambda: look() or freed, what="the end of the old rows")
    assert freed[0] == 1500
    publish(prices, many(1500))
    look()
    publish(prices, {"a": 4})
    look()
    publish(prices, {"a": 5})
    look()  # there are never three versions
    assert freed.count(1500) == 2
