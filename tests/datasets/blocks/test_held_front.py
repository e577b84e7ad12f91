"""Changes in front of many rows are read as if they were among them, before and while and after they are put there."""

from __future__ import annotations

import copy
import pickle
import random
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from django_etcdaero.datasets.blocks import held_front, held_making
from django_etcdaero.datasets.blocks.held import Sharded
from django_etcdaero.datasets.blocks.held_freeing import free_rows
from django_etcdaero.datasets.blocks.held_front import InFront, changed_in_front
from django_etcdaero.datasets.blocks.held_making import Making, changed
from django_etcdaero.datasets.blocks.often_read import EVERY, OftenRead, quickly_read


@pytest.fixture(autouse=True)
def _few_rows_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_making, "SMALL", 40)
    monkeypatch.setattr(held_making, "per_shard", lambda size: 4)
    monkeypatch.setattr(held_front, "MOST_SHARE", 1 / 2)


def large(rows: Mapping[Any, Any]) -> Sharded[Any, Any]:
    making = Making(None, len(rows))
    making.put(list(rows), list(rows.values()))
    made = making.done()
    assert isinstance(made, Sharded)
    return made


ROWS = {f"k{number}": number for number in range(200)}
UPSERTS = {"k7": "changed", "new": 1, "k199": None, **{f"more{number}": number for number in range(9)}}
GONE = ["k8", "none", "k100"]
AFTER = {key: row for key, row in (ROWS | UPSERTS).items() if key not in GONE}


def check(made: Mapping[Any, Any], rows: Mapping[Any, Any]) -> None:
    """All ways to read it say the same."""
    assert made == rows
    assert (len(made), set(made), dict(made.items())) == (len(rows), set(rows), rows)
    for key, row in rows.items():
        assert key in made
        assert made[key] == made.get(key, "other") == row
    for key in ("none", "k8" if "k8" not in rows else "x"):
        assert key not in made
        assert (made.get(key), made.get(key, 5)) == (None, 5)
        with pytest.raises(KeyError):
            made[key]
    keys = list(made)
    assert list(made.keys()) == [key for key, _ in made.items()] == keys
    assert list(made.values()) == [made[key] for key in keys]
    assert list(reversed(made)) == keys[::-1]  # type: ignore[call-overload]
    assert list(reversed(made.values())) == [made[key] for key in keys][::-1]  # type: ignore[call-overload]
    assert list(reversed(made.items())) == list(made.items())[::-1]  # type: ignore[call-overload]
    assert pickle.loads(pickle.dumps(made)) == rows
    assert copy.deepcopy(made) == rows


def test_it_is_read_the_same_before_and_after_in_the_same_order() -> None:
    before = large(ROWS)
    made = changed_in_front(before, UPSERTS, GONE)
    assert type(made) is InFront
    check(made, AFTER)
    order, items = list(made), list(made.items())
    assert order == list(changed(before, UPSERTS, GONE))
    made.settle()
    assert type(made) is Sharded
    check(made, AFTER)
    assert (list(made), list(made.items())) == (order, items)
    check(before, ROWS)
    made.settle()
    assert made.shards_not_in(before) > 3


@pytest.mark.parametrize("seed", range(6))
def test_changes_follow_each_other_whether_they_were_settled_or_not(seed: int) -> None:
    chance = random.Random(seed)
    rows: Mapping[Any, Any] = large(ROWS)
    expected = dict(ROWS)
    held = []
    for _ in range(30):
        upserts = {key: chance.random() for key in chance.sample(range(300), chance.choice((0, 1, 20, 80)))}
        gone = [key for key in chance.sample([*expected], chance.choice((0, 1, 30))) if key not in upserts]
        expected = {key: row for key, row in (expected | upserts).items() if key not in gone}
        rows = changed_in_front(rows, upserts, gone)
        held.append((rows, expected))
        if chance.random() < 0.5 and isinstance(rows, Sharded):
            rows.settle()
    assert {type(made) for made, _ in held} >= {Sharded}
    for made, content in held:
        assert made == content
        assert list(made.values()) == [made[key] for key in made]


def test_what_is_no_small_change_of_many_rows_is_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = large(ROWS)
    assert type(changed_in_front(rows, dict.fromkeys(range(150)), ())) is Sharded
    assert type(changed_in_front(rows, {}, [f"k{number}" for number in range(99)])) is InFront
    few = {1: 2}
    assert changed_in_front(few, {1: 3}, ()) == {1: 3}
    assert few == {1: 2}
    monkeypatch.setattr(held_making, "MOST", 1.0)  # so many shards are too few now
    assert type(changed_in_front(rows, {"new": 1, **{f"x{n}": n for n in range(60)}}, ())) is Sharded


def test_what_reads_begun_before_is_whole_when_it_is_settled_and_the_old_rows_are_freed() -> None:
    before = large(ROWS)
    made = changed_in_front(before, UPSERTS, GONE)
    order = list(made)
    iterators: list[Iterator[Any]] = [iter(made), iter(made.values()), iter(made.items()), reversed(made)]  # type: ignore[call-overload]
    begun = [next(each) for each in iterators]
    late = iter(made)
    made.settle()
    holders = [before]
    del before
    free_rows(holders.pop())
    rest = [[first, *each] for first, each in zip(begun, iterators, strict=True)]
    assert rest == [order, [AFTER[key] for key in order], [(key, AFTER[key]) for key in order], order[::-1]]
    assert list(late) == order
    check(made, AFTER)


def test_threads_read_while_it_is_settled() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    wrong: list[Any] = []
    stop = threading.Event()
    current: list[tuple[Mapping[Any, Any], dict[Any, Any]]] = [(large(ROWS), dict(ROWS))]

    def look() -> None:
        chance = random.Random(1)
        while not stop.is_set():
            made, expected = current[0]
            keys = chance.sample([*ROWS, "new"], 20)
            wrong.extend(key for key in keys if made.get(key, "none") != expected.get(key, "none"))
            wrong.extend(key for key in keys if (key in made) != (key in expected))
            if dict(made.items()) != expected or list(made) != [*dict(made.items())]:
                wrong.append("all")

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        chance = random.Random(2)
        for number in range(150):
            rows, expected = current[0]
            upserts = dict.fromkeys(chance.sample([*ROWS, "new"], 12), number)
            gone = [key for key in chance.sample([*expected], 5) if key not in upserts]
            made = changed_in_front(rows, upserts, gone)
            current[0] = made, {key: row for key, row in (expected | upserts).items() if key not in gone}
            if isinstance(made, Sharded):
                made.settle()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert wrong == []


def test_rows_that_are_read_often_are_found_in_front_and_then_among_the_others() -> None:
    made = changed_in_front(large(ROWS), UPSERTS, GONE)
    assert isinstance(made, InFront)
    reads = quickly_read(made)
    for _ in range(2 * EVERY):
        assert all(reads[key] == row for key, row in AFTER.items())
    with pytest.raises(KeyError, match="'k8'"):
        reads["k8"]
    made.settle()
    reads.clear()
    for _ in range(2 * EVERY):
        assert all(reads[key] == row for key, row in AFTER.items())
    with pytest.raises(KeyError, match="'k8'"):
        reads["k8"]
    assert type(reads) is OftenRead
    assert len(reads) > 100
