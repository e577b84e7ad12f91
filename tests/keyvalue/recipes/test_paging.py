from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_etcdaero.exceptions import Compacted, FutureRevision, InvalidRequest
from django_etcdaero.keyvalue import KV, Engine, KeyValue, SortTarget
from django_etcdaero.keyvalue.values import RangeRequest, RangeResult
from tests.keyvalue.interposed import InterposedEngine


def fill(kv: KV, count: int) -> list[bytes]:
    for number in range(count):
        kv.put(f"k/{number:02}", str(number))
    kv.put("j", "before")
    kv.put("l", "after")
    return [f"k/{number:02}".encode() for number in range(count)]


def keys(found: Iterator[KeyValue]) -> list[bytes]:
    return [each.key for each in found]


# --- what comes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_size", [1, 3, 10, 11, 500])
def test_everything_comes_once_and_in_order(kv: KV, page_size: int) -> None:
    expected = fill(kv, 10)
    assert keys(kv.iterate("k/", prefix=True, page_size=page_size)) == expected
    assert keys(kv.iterate("k/", prefix=True, page_size=page_size, descending=True)) == expected[::-1]


@pytest.mark.parametrize(
    ("arguments", "options", "slices"),
    [
        (("k/02", "k/05"), {}, slice(2, 5)),
        (("k/07", "l"), {}, slice(7, None)),
        (("k/03",), {}, slice(3, 4)),
        (("k/03x",), {}, slice(0, 0)),
        (("k/1",), {"prefix": True}, slice(10, None)),
        (("z", "a"), {}, slice(0, 0)),
    ],
)
def test_ranges_are_named_as_everywhere(
    kv: KV, arguments: tuple[str, ...], options: dict[str, Any], slices: slice
) -> None:
    expected = fill(kv, 12)[slices]
    assert keys(kv.iterate(*arguments, page_size=2, **options)) == expected
    assert keys(kv.iterate(*arguments, page_size=2, descending=True, **options)) == expected[::-1]


def test_no_range_leaves_the_prefix_of_the_client(kv: KV, store: InterposedEngine) -> None:
    fill(kv, 3)
    other = KV(store, prefix=kv.prefix[:-1] + b"0")  # right after it
    other.put("x", "")
    everything = [b"j", b"k/00", b"k/01", b"k/02", b"l"]
    for descending in (False, True):
        for found in (
            kv.iterate("", prefix=True, page_size=2, descending=descending),
            kv.iterate("", "\0", page_size=2, descending=descending),
        ):
            assert keys(found) == everything[:: -1 if descending else 1]
    other.close()


def test_values_come_along_unless_only_keys_are_wanted(kv: KV) -> None:
    fill(kv, 3)
    assert [found.value for found in kv.iterate("k", prefix=True)] == [b"0", b"1", b"2"]
    assert [found.value for found in kv.iterate("k", prefix=True, keys_only=True)] == [b"", b"", b""]


@pytest.mark.parametrize("descending", [False, True])
def test_all_pages_show_one_revision(kv: KV, descending: bool) -> None:
    expected = fill(kv, 10)
    found = kv.iterate("k/", prefix=True, page_size=3, descending=descending)
    seen = [next(found)]
    kv.put("k/00a", "new")
    kv.put("k/05", "changed")
    kv.delete("k/04")
    kv.delete("k/08")
    kv.delete("k/01")
    seen += found
    assert [each.key for each in seen] == expected[:: -1 if descending else 1]
    assert b"changed" not in [each.value for each in seen]


def test_an_earlier_revision_can_be_gone_through(kv: KV) -> None:
    expected = fill(kv, 5)
    revision = kv.range("x").revision
    kv.delete_range("k/", prefix=True)
    assert keys(kv.iterate("k/", prefix=True, page_size=2)) == []
    assert keys(kv.iterate("k/", prefix=True, page_size=2, revision=revision)) == expected


# --- what it costs ---------------------------------------------------------------------------------------------------


def test_a_page_is_read_when_its_first_key_is_asked_for(kv: KV, store: InterposedEngine) -> None:
    fill(kv, 6)
    store.calls.clear()
    found = kv.iterate("k/", prefix=True, page_size=3)
    assert store.calls["range"] == 0
    calls = [store.calls["range"] for _ in found]
    assert calls == [1, 1, 1, 2, 2, 2]
    assert store.calls["range"] == 2


class Tracked(KeyValue):
    """A key whose end can be seen."""

    alive = 0

    def __del__(self) -> None:
        Tracked.alive -= 1


class TrackingEngine(InterposedEngine):
    """Notes how many of the keys that it has returned are still there at the next call."""

    def __init__(self, inner: Engine) -> None:
        super().__init__(inner)
        self.held: list[int] = []

    def range(self, request: RangeRequest, *, timeout: float | None = None) -> RangeResult:
        self.held.append(Tracked.alive)
        answer = super().range(request, timeout=timeout)
        Tracked.alive += len(answer.kvs)
        return answer._replace(kvs=tuple(map(Tracked._make, answer.kvs)))


def test_a_page_is_let_go_before_the_next_one_is_read(engine: Engine, at: Callable[[str], bytes]) -> None:
    tracking = TrackingEngine(engine)
    kv = KV(tracking)
    for number in range(9):
        kv.put(at(f"{number}"), "")
    assert len([found.key for found in kv.iterate(at(""), prefix=True, page_size=3)]) == 9
    assert len(tracking.held) == 3
    assert max(tracking.held) <= 1  # the one that the consumer has
    kv.close()


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_compaction_on_the_way_is_told(kv: KV) -> None:
    fill(kv, 6)
    found = kv.iterate("k/", prefix=True, page_size=2)
    first = [next(found), next(found)]
    revision = kv.put("x", "").revision
    kv.compact(revision)
    with pytest.raises(Compacted, match="compacted away after 2 keys") as caught:
        next(found)
    assert isinstance(caught.value.__cause__, Compacted)
    assert [each.key for each in first] == [b"k/00", b"k/01"]


def test_a_revision_compacted_before_is_told(kv: KV) -> None:
    revision = fill(kv, 3) and kv.range("x").revision
    kv.compact(kv.put("x", "").revision)
    with pytest.raises(Compacted):
        next(kv.iterate("k/", prefix=True, revision=revision))


@pytest.mark.parametrize("descending", [False, True])
def test_a_member_that_is_behind_is_not_asked_alone(kv: KV, store: InterposedEngine, descending: bool) -> None:
    expected = fill(kv, 5)
    found = kv.iterate("k/", prefix=True, page_size=2, serializable=True, descending=descending)
    seen = [next(found)]
    store.fail("range", FutureRevision("behind"))
    assert sorted([*keys(iter(seen)), *keys(found)]) == expected


def test_a_revision_that_is_not_there_yet_is_told(kv: KV) -> None:
    revision = fill(kv, 1) and kv.range("x").revision + 1_000_000
    for serializable in (False, True):
        with pytest.raises(FutureRevision):
            next(kv.iterate("k/", prefix=True, revision=revision, serializable=serializable))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"page_size": 0}, "page_size"),
        ({"page_size": "7"}, "page_size"),
        ({"range_end": "z", "prefix": True}, "range_end"),
        ({"descending": 1}, "descending"),
        ({"revision": "now"}, "revision"),
    ],
)
def test_wrong_arguments_are_named_at_once(kv: KV, options: dict[str, Any], name: str) -> None:
    for iterate in (kv.iterate, kv.aiterate):
        with pytest.raises(InvalidRequest, match=name):
            iterate("k", **options)


# --- the ends --------------------------------------------------------------------------------------------------------


def test_first_and_last_by_every_order(kv: KV) -> None:
    kv.put("e/b", "2")
    kv.put("e/c", "1")
    kv.put("e/a", "3")
    kv.put("e/b", "2")
    ends = {by: (kv.first("e/", prefix=True, by=by), kv.last("e/", prefix=True, by=by)) for by in SortTarget}
    assert {by: tuple(found and found.key for found in both) for by, both in ends.items()} == {
        SortTarget.KEY: (b"e/a", b"e/c"),
        SortTarget.VERSION: (ends[SortTarget.VERSION][0].key, b"e/b"),  # type: ignore[union-attr]  # of two equal ones
        SortTarget.CREATE: (b"e/b", b"e/a"),
        SortTarget.MOD: (b"e/c", b"e/b"),
        SortTarget.VALUE: (b"e/c", b"e/a"),
    }
    assert kv.first("e/", prefix=True) == kv.get("e/a")
    assert kv.last("e/a", "e/c") == kv.get("e/b")
    assert kv.first("e/b") == kv.last("e/b") == kv.get("e/b")


def test_an_empty_range_has_no_ends(kv: KV) -> None:
    assert kv.first("nothing/", prefix=True) is None
    assert kv.last("nothing/", prefix=True) is None


def test_an_order_that_does_not_exist_is_named(kv: KV) -> None:
    with pytest.raises(InvalidRequest, match="by"):
        kv.first("e/", prefix=True, by=17)  # type: ignore[arg-type]


# --- awaited ---------------------------------------------------------------------------------------------------------


def test_the_asynchronous_twins_do_the_same(kv: KV, store: InterposedEngine) -> None:
    expected = fill(kv, 7)

    async def use() -> None:
        for descending in (False, True):
            found = [each.key async for each in kv.aiterate("k/", prefix=True, page_size=3, descending=descending)]
            assert found == expected[:: -1 if descending else 1]
        first = await kv.afirst("k/", prefix=True)
        last = await kv.alast("k/", prefix=True)
        assert (first, last) == (kv.first("k/", prefix=True), kv.last("k/", prefix=True))
        assert await kv.afirst("none") is None
        pages = kv.aiterate("k/", prefix=True, page_size=2)
        seen = [await anext(pages), await anext(pages)]
        kv.compact(kv.put("x", "").revision)
        with pytest.raises(Compacted, match="after 2 keys"):
            await anext(pages)
        assert [each.key for each in seen] == expected[:2]

    asyncio.run(use())
