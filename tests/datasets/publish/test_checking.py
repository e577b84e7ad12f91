"""Records of a version that changes have made are looked at between two refreshes."""

from __future__ import annotations

from typing import Any

import pytest

from django_etcdaero.datasets.publish import checking
from django_etcdaero.datasets.publish.checking import check_some
from tests.datasets.hosting import FakeHost, many

from .changing import declared
from .test_changes import manifest_of, refresh, stored


@pytest.fixture
def prices(host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A dataset of 64 blocks, and a delta; 16 blocks are looked at together."""
    monkeypatch.setattr(checking, "STEP", 16)
    monkeypatch.setattr(checking, "EVERY", 0.0)
    dataset = declared(declare, many(2000))
    refresh(dataset)
    dataset.table.put(k1={"n": "other"})
    assert refresh(dataset).changes
    return dataset


def repair_is_asked_for(host: FakeHost, dataset: Any) -> bool:
    pending = host.state(dataset).pending
    return pending is not None and pending.repair


def test_all_records_are_looked_at_in_some_steps(host: FakeHost, prices: Any) -> None:
    manifest = manifest_of(host, prices)
    assert len(manifest.blocks) == 64
    counts = [check_some(prices, host.stores("default")) for _ in range(5)]
    assert counts[1:4] == [16, 16, 16]
    assert counts[0] == counts[4] == 16 + len(manifest.deltas) + len(manifest.pages) + 1
    assert not repair_is_asked_for(host, prices)


@pytest.mark.parametrize("fault", ["missing", "damaged", "about to expire", "a delta is missing"])
def test_what_is_wrong_is_asked_to_be_repaired(host: FakeHost, prices: Any, fault: str) -> None:
    manifest = manifest_of(host, prices)
    name = manifest.deltas[0] if fault == "a delta is missing" else manifest.blocks[40]
    record = prices.layout("t").record(name)
    if fault == "damaged":
        host.records.inner.put(record, b"\x10 something else")
    elif fault == "about to expire":
        host.records.inner.touch(record, 1000)
    else:
        host.records.inner.delete(record)
    for _ in range(4):
        check_some(prices, host.stores("default"))
    assert repair_is_asked_for(host, prices)
    assert refresh(prices).ok
    assert stored(host, prices) == prices.table.rows
    ttls = host.ttls(prices)
    assert all(ttls[digest] is None for digest in manifest_of(host, prices).digests())
    for _ in range(4):
        check_some(prices, host.stores("default"))
    assert not repair_is_asked_for(host, prices)


def test_only_what_is_announced_and_was_published_here_is_looked_at(host: FakeHost, prices: Any) -> None:
    host.records.inner.delete(prices.layout("t").record(manifest_of(host, prices).deltas[0]))
    prices.rollback(1)
    check_some(prices, host.stores("default"))
    assert not repair_is_asked_for(host, prices)


def test_there_is_a_while_between_two_steps(host: FakeHost, prices: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "EVERY", 60.0)
    assert check_some(prices, host.stores("default")) > 0
    assert check_some(prices, host.stores("default")) == 0
