"""Versions with blocks of short rows and by rows stand side by side, and nobody who looks at rows sees which is."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

import pytest

from django_etcdaero.datasets.blocks import short_rows
from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.publish.exploring import encode_key, explore
from django_etcdaero.datasets.publish.history import find_one
from django_etcdaero.datasets.state.status import Outcome
from tests.datasets.hosting import FakeHost, follow, publish

ROWS = {f"sku-{number}": {"name": f"n{number}", "price": Decimal(number)} for number in range(300)}
CHANGED = ROWS | {"sku-7": {"name": "seven", "price": Decimal(7)}}


@pytest.fixture
def prices(host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A dataset whose first version is by rows, and the second of short rows."""
    prices = declare(ROWS)
    with monkeypatch.context() as before:
        before.setattr(short_rows, "BY_FIELDS", False)
        assert publish(prices).version == 1
    assert publish(prices, CHANGED).version == 2
    return prices


def version(host: FakeHost, prices: Any, number: int) -> Any:
    stores = host.stores("default")
    return explore(prices, stores, find_one(prices, stores, number))


def codec(host: FakeHost, prices: Any, number: int) -> int:
    stores = host.stores("default")
    root = bytes.fromhex(find_one(prices, stores, number).root)
    return Manifest.load(BlockStore(stores.records, prices.layout(stores.prefix)).fetch, root).codec


def test_the_codec_is_raised_only_for_versions_with_short_rows(host: FakeHost, prices: Any) -> None:
    assert [codec(host, prices, number) for number in (1, 2)] == [1, 3]
    assert publish(prices, {"a": 1, "b": 2}).version == 3
    assert codec(host, prices, 3) == 1


def test_what_has_changed_is_what_differs_in_rows(host: FakeHost, prices: Any) -> None:
    (change,) = prices.diff(1, 2)
    assert (change.key, change.kind, [field.key for field in change.fields]) == ("sku-7", "changed", ["name"])
    assert prices.diff(2, 1).counts == (0, 0, 1)


def test_a_row_is_found_in_both(host: FakeHost, prices: Any) -> None:
    for number, name in ((1, "n7"), (2, "seven")):
        row = version(host, prices, number).find(encode_key("sku-7"))
        assert (row.key, row.value) == ("sku-7", {"name": name, "price": Decimal(7)})


def test_a_reader_goes_from_one_to_the_other_and_back(host: FakeHost, prices: Any) -> None:
    following = follow(prices, host)
    following.step()
    assert dict(prices) == CHANGED
    prices.rollback(1)
    following.step()
    assert dict(prices) == ROWS
    following.close()


def test_an_export_of_each_is_imported(host: FakeHost, prices: Any) -> None:
    for number, rows in ((1, ROWS), (2, CHANGED)):
        file = io.BytesIO()
        prices.export_version(file, number)
        file.seek(0)
        assert prices.import_version(file).outcome in (Outcome.REFRESHED, Outcome.UNCHANGED)
        following = follow(prices, host)
        following.step()
        assert dict(prices) == rows
        following.close()
