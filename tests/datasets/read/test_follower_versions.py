"""One version after the other: what is kept, what is fetched, and that the rows are those that were published."""

from __future__ import annotations

import random
from typing import Any

import pytest

from django_etcdaero.datasets.state.status import Outcome
from tests.datasets.hosting import FakeHost, many, publish


def test_unchanged_rows_are_the_same_objects(host: FakeHost, declare: Any, step: Any) -> None:
    rows = many(500)
    prices = declare(rows)
    look = step(prices)
    publish(prices)
    look()
    before = prices.snapshot()
    fetched = host.records.calls["get_many"]
    publish(prices, rows | {"k1": {"n": -1}})
    look()
    after = prices.snapshot()
    same = [key for key in rows if before[key] is after[key]]
    assert len(same) > 400
    assert after["k1"] == {"n": -1}
    assert before["k1"] == {"n": 1}
    assert host.records.calls["get_many"] > fetched


def test_only_missing_blocks_are_fetched(host: FakeHost, declare: Any, step: Any) -> None:
    rows = many(2000)
    prices = declare(rows)
    look = step(prices)
    publish(prices)
    look()
    fetched: list[int] = []
    publish(prices, rows | {"k1": {"n": -1}})
    host.records.before["get_many"] = lambda keys, **options: fetched.append(len(keys))
    look()
    assert fetched == [1, 1, 1]  # the root, its page, the block


def edited(rows: dict[Any, Any], luck: random.Random) -> dict[Any, Any]:
    """Return the rows of the next version: a few edits, many, none, growth, shrinkage, or other rows altogether."""
    rows = dict(rows)
    kind = luck.choice(["few", "few", "few", "many", "none", "grow", "shrink", "replace", "clear"])
    keys = list(rows)
    if kind in ("few", "many"):
        for key in luck.sample(keys, min(len(keys), 3 if kind == "few" else len(keys) // 2)):
            action = luck.random()
            if action < 0.5:
                rows[key] = {"edit": luck.random()}
            elif action < 0.8:
                del rows[key]
            else:
                rows[f"new {luck.random()}"] = rows.pop(key)
    elif kind == "grow":
        rows.update({luck.randrange(10**9): luck.random() for _ in range(luck.choice([10, 400, 1500]))})
    elif kind == "shrink":
        rows = dict(luck.sample(list(rows.items()), len(rows) // luck.choice([2, 10])))
    elif kind == "replace":
        rows = {f"r{number}": luck.random() for number in range(luck.choice([0, 1, 30, 800]))}
    elif kind == "clear":
        rows = {}
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_every_version_has_exactly_the_published_rows(host: FakeHost, declare: Any, step: Any, seed: int) -> None:
    luck = random.Random(seed)
    rows: dict[Any, Any] = many(200)
    prices = declare(rows, keep=3)
    look = step(prices)
    held: list[tuple[Any, dict[Any, Any]]] = []
    published: list[dict[Any, Any]] = []
    for _ in range(30):
        rows = edited(rows, luck)
        if publish(prices, rows).outcome is Outcome.REFRESHED:
            published.append(rows)
        if luck.random() < 0.25:
            continue  # this one is skipped
        look()
        assert dict(prices) == rows
        assert list(prices.snapshot()) == list(prices)
        held.append((prices.snapshot(), rows))
        if luck.random() < 0.3:
            held.pop(luck.randrange(len(held)))
        for snapshot, expected in held:
            assert dict(snapshot) == expected
    assert len(published) > 10


def test_rows_of_all_sizes_of_blocks_and_parts_arrive(host: FakeHost, declare: Any, step: Any) -> None:
    rows = {number: "x" * 40_000 + str(number) for number in range(60)}
    prices = declare(rows)
    look = step(prices)
    publish(prices)
    look()
    assert dict(prices) == rows
    rows = rows | {3: "y"}
    publish(prices, rows)
    look()
    assert dict(prices) == rows
