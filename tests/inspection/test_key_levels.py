"""Keys as a tree: levels, pages, folders that are jumped over, old revisions, compaction on the way."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_etcdaero.exceptions import Compacted, FutureRevision
from django_etcdaero.inspection import key_levels
from django_etcdaero.inspection.key_levels import Entry, read_level, read_matches
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest, RangeResult, TxnRequest
from tests.keyvalue.interposed import InterposedEngine


def told(entries: list[Entry]) -> list[tuple[bytes, int | None]]:
    return [(each.name, each.count) for each in entries]


def test_a_level_has_keys_and_folders_with_their_counts(kv: KV) -> None:
    for key in ("a", "a/1", "a/2", "a/2/x", "b", "c/", "/d", "z\xff"):
        kv.put(key, "1")
    root = read_level(kv)
    assert told(root.entries) == [(b"/", 1), (b"a", None), (b"a/", 3), (b"b", None), (b"c/", 1), (b"z\xc3\xbf", None)]
    assert root.next is None
    assert told(read_level(kv, b"a/").entries) == [(b"1", None), (b"2", None), (b"2/", 1)]
    assert told(read_level(kv, b"c/").entries) == [(b"", None)]
    assert read_level(kv, b"nothing/").entries == []


def test_values_are_not_read(kv: KV) -> None:
    kv.put("a", "secret")
    (entry,) = read_level(kv).entries
    assert entry.kv is not None
    assert entry.kv.value == b""


@settings(max_examples=20)
@given(st.sets(st.text("ab/\xff", min_size=1, max_size=6), max_size=20), st.integers(1, 4), st.sampled_from([0, 2000]))
def test_pages_together_are_the_level(keys: set[str], limit: int, few: int) -> None:
    with patch.object(key_levels, "FEW", few):
        check_pages(keys, limit)


def check_pages(keys: set[str], limit: int) -> None:
    engine = EmbeddedEngine.memory("pages")
    kv = KV(engine, prefix="app/")
    try:
        for key in keys:
            kv.put(key, "1")
        whole = read_level(kv).entries
        found: list[Entry] = []
        start: bytes | None = b""
        while start is not None:
            page = read_level(kv, start=start, limit=limit)
            assert len(page.entries) <= limit
            found += page.entries
            start = page.next
        assert found == whole
        expected = {key.encode() if "/" not in key else key[: key.index("/") + 1].encode() for key in keys}
        assert {each.name for each in whole} == expected
    finally:
        kv.close()
        engine.close()
        drop_memory("pages")


def fill(kv: KV, keys: list[str]) -> None:
    for begin in range(0, len(keys), 100):
        puts = [PutRequest(f"{key}".encode(), b"1") for key in keys[begin : begin + 100]]
        kv.txn_run(TxnRequest(success=puts))


def test_a_page_of_a_level_with_very_many_keys_takes_one_range(kv: KV, store: InterposedEngine) -> None:
    fill(kv, [f"many/{number:06d}" for number in range(5_000)])
    store.calls.clear()
    page = read_level(kv, b"many/", limit=100)
    assert len(page.entries) == 100
    assert page.next == b"many/000099\0"
    assert store.calls == {"range": 1}


def test_folders_beside_each_other_are_found_without_counting_all(kv: KV, store: InterposedEngine) -> None:
    fill(kv, [f"{number:04d}/{each}" for number in range(300) for each in range(10)])
    asked: list[int] = []
    plain = store.inner.range

    def counting(request: RangeRequest, **options: Any) -> RangeResult:
        answer = plain(request, **options)
        asked.append(answer.count)
        return answer

    with patch.object(store.inner, "range", counting):
        page = read_level(kv, limit=50)
    assert told(page.entries) == [(b"%04d/" % number, 10) for number in range(50)]
    assert asked[0] == 3000
    assert max(asked[1:]) <= 1000
    assert sum(asked[1:]) < 50 * 150
    assert len(asked) < 80


def test_a_folder_is_jumped_over_whatever_is_in_it(kv: KV, store: InterposedEngine) -> None:
    fill(kv, [f"{folder}/{number:05d}" for folder in "abc" for number in range(1000)])
    store.calls.clear()
    assert told(read_level(kv).entries) == [(b"a/", 1000), (b"b/", 1000), (b"c/", 1000)]
    assert store.calls["range"] <= 4
    assert store.calls["txn"] == 1


def test_a_page_that_takes_too_many_ranges_ends_earlier(kv: KV, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(kv, [f"{number:03d}/{each}" for number in range(20) for each in range(30)])
    monkeypatch.setattr(key_levels, "MOST_CALLS", 5)
    page = read_level(kv, limit=10)
    assert 0 < len(page.entries) < 10
    assert page.next is not None
    following = read_level(kv, start=page.next)
    assert following.entries[0].name == b"%03d/" % len(page.entries)


def test_a_page_takes_no_more_time_than_it_may(kv: KV) -> None:
    fill(kv, [f"{number:03d}/{each}" for number in range(5) for each in range(200)])
    page = read_level(kv, seconds=0.0)
    assert told(page.entries) == [(b"000/", 200)]
    assert page.next == b"0000"


def test_the_tree_as_it_was(kv: KV) -> None:
    first = kv.put("a/1", "1").revision
    kv.put("b", "1")
    kv.delete("a/1")
    assert told(read_level(kv, revision=first).entries) == [(b"a/", 1)]
    assert told(read_level(kv).entries) == [(b"b", None)]
    with pytest.raises(FutureRevision):
        read_level(kv, revision=first + 10)


def test_compaction_between_two_pages_is_told(kv: KV) -> None:
    fill(kv, ["a", "b", "c"])
    revision = kv.put("d", "1").revision
    page = read_level(kv, limit=2, revision=revision)
    last = kv.put("e", "1").revision
    kv.open_engine().compact(last)
    assert page.next is not None
    with pytest.raises(Compacted):
        read_level(kv, start=page.next, revision=revision)
    assert told(read_level(kv, start=page.next).entries) == [(b"c", None), (b"d", None), (b"e", None)]


def test_a_search_finds_all_keys_that_begin_so(kv: KV) -> None:
    fill(kv, ["price", "prices/1", "prices/eu/1", "prize", "q"])
    page = read_matches(kv, b"pric", limit=2)
    assert [each.key for each in page.entries] == [b"price", b"prices/1"]
    assert page.next is not None
    page = read_matches(kv, b"pric", start=page.next, limit=2)
    assert [each.key for each in page.entries] == [b"prices/eu/1"]
    assert page.next is None


@pytest.mark.slow
def test_a_hundred_thousand_keys_on_a_server(own_server: KV) -> None:
    fill(own_server, [f"many/{number:06d}" for number in range(100_000)])
    fill(own_server, [f"more/{number:06d}" for number in range(10)])
    assert told(read_level(own_server).entries) == [(b"many/", 100_000), (b"more/", 10)]
    page = read_level(own_server, b"many/", start=b"many/050000", limit=100)
    assert [page.entries[0].name, page.entries[-1].name] == [b"050000", b"050099"]
