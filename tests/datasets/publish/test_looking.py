"""Looking at versions in many short visits: pages of what has changed, rows, keys; bounded in what they read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from django_etcdaero.datasets.blocks.encoded_rows import encoded_pairs
from django_etcdaero.datasets.blocks.partition import block_of, partition
from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.publish import exploring
from django_etcdaero.datasets.publish.diff import sides_of
from django_etcdaero.datasets.publish.diff_page import DiffPlace, count_differences, diff_page
from django_etcdaero.datasets.publish.exploring import Exploration, RowPlace, encode_key, explore
from django_etcdaero.datasets.publish.history import find_one, find_two
from django_etcdaero.exceptions import EncodeError, KeyNotFound
from tests.datasets.hosting import FakeHost, many, publish

ALL = ("added", "removed", "changed")


def sides(host: FakeHost, dataset: Any) -> Any:
    stores = host.stores(dataset.using)
    return sides_of(dataset, stores, find_two(dataset, stores, None, None))


def opened(host: FakeHost, dataset: Dataset[Any, Any], version: int | None = None) -> Exploration:
    stores = host.stores(dataset.using)
    return explore(dataset, stores, find_one(dataset, stores, version))


def never() -> bool:
    return False


def after(looks: int) -> Callable[[], bool]:
    """A clock by which the time is over after so many looks at it."""
    left = iter(range(looks))
    return lambda: next(left, None) is None


@pytest.fixture
def fetched(host: FakeHost) -> list[int]:
    found: list[int] = []
    host.aliases["default"].records.before["get_many"] = lambda keys, **options: found.append(len(keys))
    return found


# what has changed -----------------------------------------------------------------------------------------------------


def paged(sides: Any, limit: int, is_over: Callable[[], Callable[[], bool]] = lambda: never) -> Iterator[Any]:
    place: DiffPlace | None = DiffPlace()
    while place is not None:
        page = diff_page(sides, place, kinds=ALL, limit=limit, is_over=is_over())
        yield from page.changes
        place = page.next


@pytest.mark.parametrize("grown", [0, 3000], ids=["as-many-blocks", "more-blocks"])
@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_pages_together_are_the_difference(host: FakeHost, declare: Any, limit: int, grown: int) -> None:
    prices = declare(many(400))
    publish(prices)
    rows = {key: {"n": row["n"] + (index % 5 == 0)} for index, (key, row) in enumerate(many(400 + grown).items())}
    publish(prices, dict(list(rows.items())[20:]))
    whole = list(prices.diff())
    if limit == 1:
        whole = whole[:60]
    pages = paged(sides(host, prices), limit)
    assert [next(pages) for _ in whole] == whole
    if limit != 1:
        assert next(pages, None) is None


def test_a_page_that_ran_out_of_time_says_where_to_go_on(host: FakeHost, declare: Any) -> None:
    prices = declare(many(2000))
    publish(prices)
    publish(prices, {key: {"n": row["n"] + 1} for key, row in many(2000).items()})
    both = sides(host, prices)
    page = diff_page(both, DiffPlace(), kinds=ALL, limit=5000, is_over=after(1))
    assert not page.in_time
    assert page.next is not None
    assert 0 < len(page.changes) < 2000
    assert len(list(paged(both, 5000, lambda: after(1)))) == 2000
    counted = count_differences(both, is_over=after(3))
    assert not counted.whole
    assert 0 < counted.counts.changed < 2000
    assert count_differences(both, is_over=never) == ((0, 0, 2000), True)


def test_only_blocks_that_differ_are_read(host: FakeHost, declare: Any, fetched: list[int]) -> None:
    prices = declare(many(5000))
    publish(prices)
    publish(prices, many(5000) | {"4999": {"n": -1}})
    both = sides(host, prices)
    del fetched[:]
    page = diff_page(both, DiffPlace(), kinds=ALL, limit=50, is_over=never)
    assert ([each.key for each in page.changes], page.next, page.in_time) == (["4999"], None, True)
    assert sum(fetched) == 2


def test_a_page_of_one_kind(host: FakeHost, declare: Any) -> None:
    prices = declare({"a": 1, "b": 2, "c": 3})
    publish(prices)
    publish(prices, {"a": 1, "b": 20, "d": 4})
    page = diff_page(sides(host, prices), DiffPlace(), kinds=("added",), limit=50, is_over=never)
    assert [(each.key, each.kind) for each in page.changes] == [("d", "added")]


# rows -----------------------------------------------------------------------------------------------------------------


def test_the_block_of_a_key_is_the_one_it_was_put_into() -> None:
    parts = partition(many(3000), max_value_bytes=1 << 20)
    for block in parts:
        for row, _ in encoded_pairs(block.plain):
            assert block_of(row, parts.count) == block.index


def test_a_key_is_found_by_one_block(host: FakeHost, declare: Any, fetched: list[int]) -> None:
    keys = {("a", 1): "tuple", 7: "number", "7": "text", Decimal("7"): "decimal", None: "none"}
    prices = declare({**keys, **many(5000)})
    publish(prices)
    version = opened(host, prices)
    del fetched[:]
    assert [version.find(encode_key(key)).value for key in keys] == list(keys.values())
    assert sum(fetched) == len(keys)
    with pytest.raises(KeyNotFound):
        version.find(encode_key("nothing"))
    with pytest.raises(EncodeError):
        encode_key(object())


def test_a_version_without_rows(host: FakeHost, declare: Any) -> None:
    prices = declare({})
    publish(prices)
    version = opened(host, prices)
    assert version.page(RowPlace(), limit=5, is_over=never).rows == []
    with pytest.raises(KeyNotFound):
        version.find(encode_key("a"))


def test_a_key_in_a_block_of_several_parts(host: FakeHost, declare: Any) -> None:
    prices = declare({key: "x" * 100_000 + key for key in "abcd"})
    publish(prices)
    assert opened(host, prices).find(encode_key("d")).value[-1] == "d"


def test_pages_together_are_the_rows(host: FakeHost, declare: Any) -> None:
    prices = declare(many(2500))
    publish(prices)
    version, found, place = opened(host, prices), {}, RowPlace()
    while True:
        page = version.page(place, limit=99, is_over=never)
        found |= {row.key: row.value for row in page.rows}
        if page.next is None:
            break
        place = page.next
    assert found == many(2500)
    assert page.done == 1.0


def test_a_search_tells_how_far_it_got_and_goes_on(
    host: FakeHost, declare: Any, fetched: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exploring, "FETCH", 4)
    rows = many(2000) | {"last": {"names": ["Zürich", ("Bern", {"GENF"})]}}
    prices = declare(rows)
    publish(prices)
    version, place, found = opened(host, prices), RowPlace(), []
    del fetched[:]
    first = version.page(place, limit=10, text="genf", is_over=after(1))
    assert not first.in_time
    assert 0 < first.done < 1
    assert sum(fetched) == 8
    while place is not None:
        page = version.page(place, limit=10, text="genf", is_over=after(1))
        found += page.rows
        place = page.next  # type: ignore[assignment]
    assert [row.key for row in found] == ["last"]
    assert [row.key for row in version.page(RowPlace(), limit=10, text="ZÜR", is_over=never).rows] == ["last"]


def test_the_history_tells_the_phases(host: FakeHost, declare: Any) -> None:
    prices = declare(many(10))
    publish(prices)
    assert list(prices.history()[0].phases) == ["load", "validate", "store", "try"]
    assert all(seconds >= 0 for seconds in prices.history()[0].phases.values())
