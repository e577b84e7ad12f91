"""A dataset that keeps an order is read in that of its load after every change; the order is healed like rows."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from django.core.paginator import Paginator

from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.state.status import Outcome, State
from django_etcdaero.exceptions import ConfigurationError, CorruptBlock
from django_etcdaero.testing import override_dataset
from tests.datasets.hosting import FakeHost, publish


def shuffled(count: int, seed: int = 1) -> dict[str, Any]:
    keys = [f"k{number}" for number in range(count)]
    random.Random(seed).shuffle(keys)
    return {key: {"n": number} for number, key in enumerate(keys)}


def manifest_of(host: FakeHost, dataset: Any) -> Manifest:
    newest = dataset.history()[0].announcement
    return Manifest.load(host.blocks(dataset).fetch, bytes.fromhex(newest.root))


def test_all_ways_to_iterate_go_in_the_order_of_the_load(declare: Any, step: Any) -> None:
    rows = shuffled(3000)
    prices = declare(rows, ordered=True)
    publish(prices)
    step(prices)()
    for view in (prices, prices.snapshot()):
        assert list(view) == list(view.keys()) == list(rows)
        assert list(view.values()) == list(view.sequence()) == list(rows.values())
        assert list(view.items()) == list(rows.items())
        assert next(reversed(view.keys())) == next(reversed(rows))


def test_the_order_is_right_after_every_kind_of_change(declare: Any, step: Any) -> None:
    prices = declare({}, ordered=True)
    look = step(prices)
    rows = shuffled(400)
    keys = list(rows)
    changes: list[dict[str, Any]] = [
        rows,
        rows | {keys[7]: {"n": -1}},  # a row's content only
        {"first": {"n": 0}} | rows,
        {key: rows[key] for key in keys if key != keys[200]},
        {key: rows[key] for key in reversed(keys)},
        {key: {"n": -2} for key in reversed(keys)},  # all contents, no move
        {key: rows[key] for key in keys[:3]},
        {},
        rows,
    ]
    for expected in changes:
        assert publish(prices, expected).outcome is Outcome.REFRESHED
        look()
        assert list(prices.items()) == list(expected.items())
        assert list(prices.sequence()) == list(expected.values())


def test_keys_that_are_equal_are_those_of_the_newest_version(declare: Any, step: Any) -> None:
    prices = declare({}, ordered=True)
    look = step(prices)
    for keys in ([1, 2, 3], [1.0, 2, 3], [3, True, 2.0], [3, 1, 2]):
        publish(prices, {key: {"key": repr(key)} for key in keys})
        look()
        assert [(repr(key), row) for key, row in prices.items()] == [(repr(key), {"key": repr(key)}) for key in keys]


def test_another_order_of_the_same_rows_is_another_version(declare: Any, step: Any) -> None:
    rows = shuffled(100)
    backwards = dict(reversed(rows.items()))
    unordered, ordered = declare(rows, name="unordered"), declare(rows, name="ordered", ordered=True)
    for dataset, outcome in ((unordered, Outcome.UNCHANGED), (ordered, Outcome.REFRESHED)):
        publish(dataset, rows)
        assert publish(dataset, rows).outcome is Outcome.UNCHANGED
        assert publish(dataset, backwards).outcome is outcome


def test_a_row_that_moves_writes_no_block(declare: Any, host: FakeHost) -> None:
    rows = shuffled(2000)
    prices = declare(rows, ordered=True)
    publish(prices)
    before = manifest_of(host, prices)
    publish(prices, dict([*list(rows.items())[1:], next(iter(rows.items()))]))
    after = manifest_of(host, prices)
    assert after.blocks == before.blocks
    assert 0 < len(set(after.order.chunks) - set(before.order.chunks)) <= 4


def test_a_dataset_that_keeps_no_order_has_no_records_of_one(declare: Any, host: FakeHost) -> None:
    prices = declare(shuffled(100))
    publish(prices)
    manifest = manifest_of(host, prices)
    assert (manifest.order.chunks, manifest.order_pages) == ((), ())


def test_it_begins_to_keep_one_when_the_option_is_set(declare: Any, step: Any) -> None:
    rows = shuffled(100)
    prices = declare(rows)
    look = step(prices)
    publish(prices)
    look()
    type(prices).ordered = True
    assert publish(prices).outcome is Outcome.REFRESHED
    look()
    assert list(prices) == list(rows)


# --- what the records of the order go through ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_a_damaged_order_is_never_served_and_is_healed(declare: Any, step: Any, host: FakeHost, how: str) -> None:
    rows = shuffled(300)
    prices = declare(rows, ordered=True, refresh_every=timedelta(hours=1))
    publish(prices)
    digest = manifest_of(host, prices).order.chunks[0]
    key = prices.layout("t").record(digest)
    if how == "missing":
        host.records.inner.delete(key)
    else:
        host.records.inner.put(key, b"\x10garbage")
    look = step(prices)
    look()
    assert prices.status().state is State.INITIALIZING
    request = host.state(prices).pending
    assert request is not None
    assert request.repair
    assert prices.refresh().outcome is Outcome.REFRESHED
    look()
    assert list(prices.items()) == list(rows.items())
    assert set(host.ttls(prices).values()) == {None}


def test_an_order_that_no_kept_version_has_expires(declare: Any, host: FakeHost) -> None:
    rows = shuffled(300)
    prices = declare(rows, ordered=True, keep=1)
    publish(prices, rows)
    first = manifest_of(host, prices)
    publish(prices, dict(reversed(rows.items())))
    second = manifest_of(host, prices)
    ttls = host.ttls(prices)
    gone = {*first.order.chunks, *first.order_pages, first.root_digest}
    assert all(ttls[digest] is not None for digest in gone)
    assert all(ttls[digest] is None for digest in second.digests())


def test_a_rollback_to_a_version_with_a_damaged_order_is_refused(declare: Any, host: FakeHost) -> None:
    rows = shuffled(300)
    prices = declare(rows, ordered=True)
    publish(prices, rows)
    chunk = manifest_of(host, prices).order.chunks[0]
    publish(prices, dict(reversed(rows.items())))
    host.records.inner.put(prices.layout("t").record(chunk), b"\x10garbage")
    with pytest.raises(CorruptBlock, match=f"order {chunk.hex()}"):
        prices.rollback(1)


def test_a_rollback_brings_the_order_back(declare: Any, step: Any) -> None:
    rows = shuffled(300)
    prices = declare(rows, ordered=True)
    look = step(prices)
    publish(prices, rows)
    publish(prices, dict(reversed(rows.items())))
    look()
    prices.rollback(1)
    look()
    assert list(prices) == list(rows)


# --- pages -----------------------------------------------------------------------------------------------------------


def test_pages_are_cut_from_one_sequence_a_version(declare: Any, step: Any) -> None:
    rows = shuffled(103)
    prices = declare(rows, ordered=True)
    publish(prices)
    step(prices)()
    paginator = Paginator(prices.sequence(), 25)
    assert paginator.count == 103
    assert list(paginator.page(5)) == list(rows.values())[100:]
    assert prices.sequence() is prices.sequence()


def test_an_order_that_is_not_kept_cannot_be_paged(declare: Any, step: Any) -> None:
    prices = declare()
    publish(prices)
    step(prices)()
    with pytest.raises(ConfigurationError, match="'prices' keeps no order: declare it with ordered = True"):
        prices.sequence()


def test_rows_set_by_a_test_keep_their_order(declare: Any) -> None:
    rows = shuffled(200)
    with override_dataset(declare(ordered=True), rows) as prices:
        assert list(prices.items()) == list(rows.items())
        assert len(prices.sequence()) == 200


# --- many keys at once -----------------------------------------------------------------------------------------------


def test_many_keys_are_read_from_one_version_in_their_order(declare: Any, step: Any) -> None:
    prices = declare({"a": 1, "b": 2, "c": 3})
    publish(prices)
    step(prices)()
    assert list(prices.get_many(["c", "x", "a", "c"]).items()) == [("c", 3), ("a", 1)]
    assert prices.snapshot().get_many(iter("b")) == {"b": 2}
    assert prices.get_many(()) == {}
