"""A process that knows the digests of all rows compares a change with them, and reads no block for it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from django_etcdaero.datasets.publish import base as bases
from tests.datasets.hosting import FakeHost, many

from .changing import declared
from .test_changes import manifest_of, refresh, stored


@pytest.fixture
def prices(host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(bases, "_rows", {})  # those of other tests
    dataset = declared(declare, many(2000))
    refresh(dataset)
    return dataset


def blocks_read(host: FakeHost, dataset: Any) -> set[bytes]:
    """Note the names of the blocks that are read from now on, of those that the version has now."""
    names = {dataset.layout("t").record(digest) for digest in manifest_of(host, dataset).blocks}
    read: set[bytes] = set()
    host.records.before["get_many"] = lambda keys, *args, **options: read.update(names.intersection(keys))
    return read


def checked(host: FakeHost, dataset: Any, **options: Any) -> None:
    """Refresh by changes, and look whether what is published is what the source has, and its digest that of a load."""
    assert refresh(dataset, **options).changes
    assert stored(host, dataset) == dataset.table.rows
    told = host.state(dataset).current
    assert refresh(dataset, full=True).drift == 0
    loaded = host.state(dataset).current
    assert told is not None
    assert loaded is not None
    assert told.content == loaded.content


def test_a_change_reads_no_block(host: FakeHost, prices: Any) -> None:
    read = blocks_read(host, prices)
    for number in range(3):
        prices.table.put(k1={"n": number}, k2={"n": "x"}, **{f"new{number}": {"n": 1}})
        prices.table.remove("k3", f"new{number - 1}", "never")
        result = refresh(prices)
        assert result.changes
    assert not read
    checked(host, prices)


def test_rows_that_are_what_they_were_are_no_change(host: FakeHost, prices: Any) -> None:
    read = blocks_read(host, prices)
    prices.table.put(k1={"n": 1})
    prices.table.remove("never")
    result = refresh(prices)
    assert (result.changes, result.version) == (True, 1)
    assert not read


def test_what_another_process_has_published_is_known_by_its_deltas(host: FakeHost, prices: Any) -> None:
    before = copy.deepcopy(bases._rows)
    for number in range(3):
        prices.table.put(k1={"n": -number}, k5={"n": number}, **{f"new{number}": {"n": 1}})
        prices.table.remove("k3", f"new{number - 1}")
        refresh(prices)
    bases._rows.update(before)  # as if it had been another one
    read = blocks_read(host, prices)
    prices.table.put(k1={"n": "mine"})
    refresh(prices)
    assert not read
    checked(host, prices)


@pytest.mark.parametrize("how", ["a row was forgotten", "another process loaded everything", "a rollback"])
def test_digests_of_other_rows_are_noticed_and_not_used(host: FakeHost, prices: Any, how: str) -> None:
    (known,) = bases._rows.values()
    if how == "a row was forgotten":
        known.put(next(key for key in (b"\xa2k9",) if known.get(key)), None)
    elif how == "a rollback":
        prices.table.put(k1={"n": "a"})
        refresh(prices)
        prices.rollback(1)
        prices.unpin()
    else:
        before = copy.deepcopy(bases._rows)
        prices.table.put(k1={"n": "a"})
        refresh(prices, full=True)
        bases._rows.update(before)
    prices.table.put(k2={"n": "b"})
    checked(host, prices)


def test_a_fold_leaves_them_as_they_are(host: FakeHost, prices: Any) -> None:
    for number in range(3):
        prices.table.put(k1={"n": -number})
        refresh(prices)
    (known,) = bases._rows.values()
    content = known.content
    prices.table.everything = True
    refresh(prices)
    prices.table.everything = False
    (known,) = bases._rows.values()
    assert known.content == content
    checked(host, prices)
