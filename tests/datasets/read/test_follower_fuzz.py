"""Whatever becomes of a version's records in the store, a reader serves the one before, whole, until it is healed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.read import decision
from django_etcdaero.datasets.state.status import State
from tests.datasets.blocks.test_fuzz import bomb, drop, extend, flip, garbage, splice, swap, truncate
from tests.datasets.hosting import FakeHost, many
from tests.datasets.publish.changing import declared

DAMAGES = [flip, truncate, extend, splice, drop, swap, garbage, lambda *_: bomb(1 << 20)]


@dataclass(frozen=True, slots=True)
class Row:
    n: int


def ordinary(declare: Any, rows: dict[Any, Any], **options: Any) -> tuple[Any, Callable[[dict[Any, Any]], object]]:
    dataset = declare(rows, **options)

    def put(changed: dict[Any, Any]) -> None:
        dataset.source.rows = {**dataset.source.rows, **changed}

    return dataset, put


def changing(declare: Any, rows: dict[Any, Any], **options: Any) -> tuple[Any, Callable[[dict[Any, Any]], object]]:
    dataset = declared(declare, rows, **options)
    return dataset, lambda changed: dataset.table.put(**changed)


def records_of(host: FakeHost, dataset: Any) -> set[bytes]:
    root = bytes.fromhex(dataset.history()[0].announcement.root)
    return {*Manifest.load(host.blocks(dataset).fetch, root).digests()}


@pytest.mark.parametrize("kind", ["ordinary", "ordered", "typed", "changing", "typed changing"])
def test_what_is_damaged_is_not_served_and_healed(
    host: FakeHost, declare: Any, step: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(decision, "FIRST_RETRY", 0.0)
    chance = random.Random(kind)
    options: dict[str, Any] = {"ordered": kind == "ordered", "refresh_every": timedelta(hours=1)}
    if kind.startswith("typed"):
        options["row_type"] = Row
    prices, put = (changing if kind.endswith("changing") else ordinary)(declare, many(200), **options)
    assert prices.refresh(force=True).ok
    look = step(prices)
    look()
    refused = 0
    for number in range(30):
        before, names = dict(prices), records_of(host, prices)
        put({f"k{chance.randrange(200)}": {"n": -number - 1}})
        assert prices.refresh(force=True).ok
        new = sorted(records_of(host, prices) - names)
        digest = chance.choice(new)
        key = prices.layout("t").record(digest)
        others = [*host.records.inner.scan(prices.layout("t").records)]
        stored = host.records.inner.get(key)
        other = host.records.inner.get(chance.choice(sorted(name for name, _ in others if name[-7:] != b"current")))
        damaged = chance.choice(DAMAGES)(stored.value, other.value, chance)
        host.records.inner.put(key, damaged)
        look()
        if dict(prices) == before:
            refused += 1
            assert prices.status().state is State.INTERRUPTED, (number, damaged)
        assert prices.refresh(force=True).ok
        look()
        assert prices.status().state is State.VALID, (number, damaged, prices.status())
        whole = prices.table.rows if kind.endswith("changing") else prices.source.rows
        if "row_type" in options:
            whole = {key: Row(**row) for key, row in whole.items()}
        assert dict(prices) == whole, (number, damaged)
    assert refused > 20
