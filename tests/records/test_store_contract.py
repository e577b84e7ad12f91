"""What every record store promises."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from django_etcdaero.exceptions import (
    Cancelled,
    InvalidRequest,
    KeyExists,
    KeyNotFound,
    RecordTooBig,
    VersionConflict,
)
from django_etcdaero.records.arguments import MAX_KEY_BYTES, MAX_TTL
from django_etcdaero.records.store import Meta, Record, RecordStore
from tests.records.conftest import Bench

VALUES = [b"", b"\0", b"a\0b", bytes(range(256)), b"x" * 100_000, 0, 1, -1, 2**63 - 1, -(2**63)]


# --- one record ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_a_value_is_read_back_as_it_was_written(store: RecordStore, value: bytes | int) -> None:
    store.put(b"k", value)
    record = store.get(b"k")
    assert record == Record(value, 1, None)
    assert type(record.value) is type(value)


def test_a_missing_record_is_none(store: RecordStore) -> None:
    assert store.get(b"k") is None
    assert store.exists(b"k") is None


def test_keys_that_share_a_beginning_or_contain_nul_are_different(store: RecordStore) -> None:
    keys = [b"a", b"a\0", b"a\0b", b"a\0c", b"\0", b"\0\0", b"\xff", b"\xff\xff", b"A", b"k" * MAX_KEY_BYTES]
    for number, key in enumerate(keys):
        store.put(key, number)
    assert {key: store.get(key).value for key in keys} == {key: number for number, key in enumerate(keys)}
    assert sorted(key for key, _ in store.scan()) == sorted(keys)


def test_each_write_raises_the_generation(store: RecordStore) -> None:
    store.put(b"k", b"1")
    store.put(b"k", b"2")
    store.put_many({b"k": b"3"})
    assert store.get(b"k") == Record(b"3", 3, None)
    assert store.touch(b"k", 60)
    assert store.touch_many({b"k": None}, 60) == {b"k"}
    assert store.exists(b"k") == Meta(5, 60)
    store.put(b"k", 7)
    assert store.increment(b"k", 1) == 8
    assert store.exists(b"k") == Meta(7, None)


def test_a_deleted_record_starts_anew(store: RecordStore) -> None:
    store.put(b"k", b"1")
    store.put(b"k", b"2")
    assert store.delete(b"k") is True
    assert store.get(b"k") is None
    assert store.delete(b"k") is False
    store.put(b"k", b"3")
    assert store.get(b"k") == Record(b"3", 1, None)


def test_create_only_refuses_an_existing_record(store: RecordStore) -> None:
    store.put(b"k", b"1", create_only=True)
    with pytest.raises(KeyExists):
        store.put(b"k", b"2", create_only=True)
    assert store.get(b"k") == Record(b"1", 1, None)


def test_a_write_with_the_right_generation_succeeds(store: RecordStore) -> None:
    store.put(b"k", b"1")
    store.put(b"k", b"2", generation=1)
    assert store.touch(b"k", None, generation=2) is True
    assert store.get(b"k") == Record(b"2", 3, None)
    assert store.delete(b"k", generation=3) is True


@pytest.mark.parametrize("present", [True, False])
def test_another_generation_is_a_conflict_and_changes_nothing(store: RecordStore, present: bool) -> None:
    if present:
        store.put(b"k", b"1")
    for call in (
        lambda: store.put(b"k", b"2", generation=2),
        lambda: store.delete(b"k", generation=2),
        lambda: store.touch(b"k", 60, generation=2),
    ):
        with pytest.raises(VersionConflict):
            call()
    assert store.get(b"k") == (Record(b"1", 1, None) if present else None)


def test_touching_a_missing_record_does_nothing(store: RecordStore) -> None:
    assert store.touch(b"k", 60) is False
    assert store.exists(b"k") is None


def test_a_look_at_a_record_finds_what_reading_it_finds(store: RecordStore) -> None:
    store.put(b"k", b"1", ttl=60)
    assert store.peek(b"k") == store.get(b"k")
    assert store.peek(b"other") is None


def test_what_a_store_says_of_how_full_it_is_is_right_or_not_known(store: RecordStore) -> None:
    store.put_many({b"a/1": b"x" * 100, b"a/2": 7, b"b/1": b"x" * 50})
    fill = store.fill(b"a/")
    assert fill.matching in (None, 2)
    assert fill.records in (None, 3)
    assert fill.size is None or fill.size >= 150
    assert store.fill().matching in (None, 3)
    if store.info.kind in ("memory", "sqlite"):
        assert None not in fill[:3]


# --- counting --------------------------------------------------------------------------------------------------------


def test_increment_returns_the_sum_and_keeps_the_time_to_live(store: RecordStore) -> None:
    store.put(b"n", 5, ttl=60)
    assert store.increment(b"n", 3) == 8
    assert store.increment(b"n", -10) == -2
    assert store.get(b"n") == Record(-2, 3, 60)


def test_increment_never_creates(store: RecordStore) -> None:
    with pytest.raises(KeyNotFound):
        store.increment(b"n", 1)
    assert store.exists(b"n") is None


def test_bytes_cannot_be_incremented(store: RecordStore) -> None:
    store.put(b"n", b"1")
    with pytest.raises(TypeError, match="bytes"):
        store.increment(b"n", 1)
    assert store.get(b"n") == Record(b"1", 1, None)


@pytest.mark.parametrize(("start", "delta"), [(2**63 - 1, 1), (-(2**63), -1), (0, 2**63)])
def test_a_sum_beyond_64_bits_is_refused_and_changes_nothing(store: RecordStore, start: int, delta: int) -> None:
    store.put(b"n", start)
    with pytest.raises(OverflowError):
        store.increment(b"n", delta)
    assert store.get(b"n") == Record(start, 1, None)


# --- time to live ----------------------------------------------------------------------------------------------------


def test_the_time_left_is_rounded_up(bench: Bench, store: RecordStore) -> None:
    store.put(b"k", b"v", ttl=60)
    assert store.exists(b"k") == Meta(1, 60)
    bench.pass_time(10.5)
    assert store.exists(b"k") == Meta(1, 50)
    assert store.get(b"k").ttl == 50


def test_an_expired_record_is_invisible_everywhere(bench: Bench, store: RecordStore) -> None:
    for key in (b"a", b"b", b"n"):
        store.put(key, 1, ttl=2)
    store.put(b"stays", 1, ttl=60)
    bench.pass_time(3.1)
    assert store.get(b"a") is None
    assert store.exists(b"a") is None
    keys = [b"a", b"b", b"n", b"stays"]
    assert set(store.get_many(keys)) == {b"stays"}
    assert set(store.exists_many(keys)) == {b"stays"}
    assert [key for key, _ in store.scan()] == [b"stays"]
    assert store.touch(b"a", 60) is False
    assert store.touch_many({b"a": None, b"b": 1}, 60) == set()
    with pytest.raises(KeyNotFound):
        store.increment(b"n", 1)
    with pytest.raises(VersionConflict):
        store.put(b"a", 2, generation=1)
    assert store.delete(b"b") is False
    assert store.delete_many([b"a", b"b"]) == 0


def test_an_expired_record_starts_anew(bench: Bench, store: RecordStore) -> None:
    store.put_many({b"expires earlier %d" % number: b"" for number in range(3000)}, ttl=1)
    for key in (b"put", b"many", b"create"):
        store.put(key, b"old", ttl=2)
        store.put(key, b"old", ttl=2)
    bench.pass_time(3.1)
    store.put(b"create", b"new", create_only=True)
    store.put(b"put", b"new")
    store.put_many({b"many": b"new"})
    for key in (b"put", b"many", b"create"):
        assert store.get(key) == Record(b"new", 1, None)


def test_a_put_replaces_the_time_to_live(bench: Bench, store: RecordStore) -> None:
    store.put(b"k", b"1", ttl=5)
    store.put(b"k", b"2")
    store.put(b"l", b"1")
    store.put(b"l", b"2", ttl=5)
    bench.pass_time(6)
    assert store.get(b"k") == Record(b"2", 2, None)
    assert store.get(b"l") is None


def test_touch_lengthens_shortens_and_makes_permanent(bench: Bench, store: RecordStore) -> None:
    for key in (b"long", b"short", b"ever"):
        store.put(key, b"v", ttl=10)
    store.touch(b"long", MAX_TTL)
    store.touch(b"short", 1)
    store.touch(b"ever", None)
    assert store.exists(b"long") == Meta(2, MAX_TTL)
    bench.pass_time(11)
    assert set(store.exists_many([b"long", b"short", b"ever"])) == {b"long", b"ever"}
    assert store.exists(b"ever") == Meta(2, None)


# --- many records ----------------------------------------------------------------------------------------------------


def test_calls_on_no_records_are_fine(store: RecordStore) -> None:
    assert store.get_many([]) == {}
    assert store.exists_many([]) == {}
    assert store.delete_many([]) == 0
    assert store.touch_many({}, None) == set()
    store.put_many({})
    assert list(store.scan()) == []


@pytest.mark.parametrize("count", [1, 2, 127, 128, 129, 513, 1025, pytest.param(5000, marks=pytest.mark.slow)])
def test_batches_of_any_size(store: RecordStore, count: int) -> None:
    items = {b"key-%d" % number: b"value-%d" % number for number in range(count)}
    keys = [*items, b"missing"]
    store.put_many(items, ttl=600)
    assert store.get_many(keys) == {key: Record(value, 1, 600) for key, value in items.items()}
    assert store.touch_many(dict.fromkeys(keys), None) == set(items)
    assert store.exists_many(keys) == dict.fromkeys(items, Meta(2, None))
    assert dict(store.scan()) == dict.fromkeys(items, Meta(2, None))
    assert store.delete_many(keys) == count
    assert store.get_many(keys) == {}


def test_a_key_given_twice_counts_once(store: RecordStore) -> None:
    store.put(b"k", b"v")
    assert store.get_many([b"k", b"k"]) == {b"k": Record(b"v", 1, None)}
    assert store.delete_many([b"k", b"k"]) == 1


@pytest.mark.slow
def test_20000_records_of_3_kb(store: RecordStore) -> None:
    items = {b"%05d" % number: b"%05d" % number * 600 for number in range(20_000)}
    store.put_many(items)
    assert len(store.exists_many(items)) == 20_000
    some = list(items)[::97]
    assert {key: record.value for key, record in store.get_many(some).items()} == {key: items[key] for key in some}


def test_touch_many_leaves_other_generations_alone(store: RecordStore) -> None:
    store.put_many({b"a": b"", b"b": b"", b"c": b""})
    store.put(b"b", b"")
    touched = store.touch_many({b"a": 1, b"b": 1, b"c": None, b"d": None, b"e": 1}, 60)
    assert touched == {b"a", b"c"}
    assert store.exists_many([b"a", b"b", b"c", b"d"]) == {b"a": Meta(2, 60), b"b": Meta(2, None), b"c": Meta(2, 60)}


def test_get_many_returns_ints_and_bytes(store: RecordStore) -> None:
    store.put_many({b"i": 5, b"b": b"5"})
    assert {key: record.value for key, record in store.get_many([b"i", b"b"]).items()} == {b"i": 5, b"b": b"5"}


# --- scan and truncate -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        (b"", {b"a", b"a\0", b"a\xff", b"a\xff\xffz", b"b", b"\xff", b"\xff\xff\xff"}),
        (b"a", {b"a", b"a\0", b"a\xff", b"a\xff\xffz"}),
        (b"a\xff", {b"a\xff", b"a\xff\xffz"}),
        (b"a\0", {b"a\0"}),
        (b"\xff", {b"\xff", b"\xff\xff\xff"}),
        (b"\xff\xff", {b"\xff\xff\xff"}),
        (b"c", set()),
        (b"x" * 2000, set()),
    ],
)
def test_scan_gives_the_keys_with_a_prefix(store: RecordStore, prefix: bytes, expected: set[bytes]) -> None:
    store.put_many(dict.fromkeys([b"a", b"a\0", b"a\xff", b"a\xff\xffz", b"b", b"\xff", b"\xff\xff\xff"], b"v"))
    assert sorted(key for key, _ in store.scan(prefix)) == sorted(expected)


def test_scan_sees_every_other_record_once_while_some_change(store: RecordStore) -> None:
    store.put_many({b"%05d" % number: number for number in range(4000)})
    seen = []
    for key, _ in store.scan():
        seen.append(key)
        if len(seen) == 10:
            store.delete_many([b"%05d" % number for number in range(0, 4000, 2)])
            store.put_many({b"%05d" % number: 0 for number in range(4000, 6000)})
    odd = [key for key in seen if int(key) % 2 and int(key) < 4000]
    assert len(seen) == len(set(seen))
    assert sorted(odd) == [b"%05d" % number for number in range(1, 4000, 2)]


def test_truncate_removes_everything_for_everybody(bench: Bench, store: RecordStore) -> None:
    other = bench.another()
    store.put_many({b"%d" % number: number for number in range(100)}, ttl=60)
    store.put(b"ever", b"")
    other.truncate()
    assert list(store.scan()) == []
    store.put(b"ever", b"new", create_only=True)
    assert other.get(b"ever") == Record(b"new", 1, None)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["k", 1, None, bytearray(b"k")], ids=repr)
def test_a_key_of_another_type_is_a_type_error_naming_it(store: RecordStore, key: object) -> None:
    for call in _calls(store, key):
        with pytest.raises(TypeError, match=type(key).__name__):
            call()


@pytest.mark.parametrize("key", [b"", b"k" * (MAX_KEY_BYTES + 1)], ids=["empty", "long"])
def test_a_key_of_a_wrong_length_is_refused(store: RecordStore, key: bytes) -> None:
    for call in (
        *_calls(store, key),
        lambda: store.put_many({b"good": b"", key: b""}),
        lambda: store.touch_many({key: None}, None),
    ):
        with pytest.raises(InvalidRequest, match="key"):
            call()
    assert store.get(b"good") is None


def _calls(store: RecordStore, key: object) -> tuple:
    return (
        lambda: store.get_many([b"good", key]),
        lambda: store.exists_many([key]),
        lambda: store.delete_many([key]),
        lambda: store.delete(key),
        lambda: store.touch(key, 1),
        lambda: store.increment(key, 1),
        lambda: store.get(key),
        lambda: store.exists(key),
    )


def test_an_iterator_of_keys_is_refused_rather_than_read_as_empty(store: RecordStore) -> None:
    with pytest.raises(TypeError, match="collection"):
        store.get_many(iter([b"k"]))


@pytest.mark.parametrize("value", [True, "text", 1.5, None, [1], bytearray(b"v")], ids=repr)
def test_a_value_of_another_type_is_a_type_error_naming_it(store: RecordStore, value: object) -> None:
    for call in (lambda: store.put(b"k", value), lambda: store.put_many({b"good": b"", b"k": value})):
        with pytest.raises(TypeError, match=type(value).__name__):
            call()
    assert store.get_many([b"k", b"good"]) == {}


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_an_int_beyond_64_bits_is_refused(store: RecordStore, value: int) -> None:
    with pytest.raises(OverflowError, match="64 bits"):
        store.put(b"k", value)


def test_a_value_that_is_too_big_is_refused_and_the_largest_is_not(store: RecordStore) -> None:
    largest = b"x" * store.max_value_bytes
    store.put(b"k", largest)
    for call in (lambda: store.put(b"k", largest + b"x"), lambda: store.put_many({b"good": b"", b"k": largest + b"x"})):
        with pytest.raises(RecordTooBig):
            call()
    assert store.get(b"k") == Record(largest, 1, None)
    assert store.get(b"good") is None


@pytest.mark.parametrize("ttl", [0, -1, MAX_TTL + 1])
def test_a_time_to_live_out_of_range_is_refused(store: RecordStore, ttl: int) -> None:
    for call in _ttl_calls(store, ttl):
        with pytest.raises(InvalidRequest, match="ttl"):
            call()


@pytest.mark.parametrize("ttl", [1.5, True, "1"], ids=repr)
def test_a_time_to_live_of_another_type_is_a_type_error(store: RecordStore, ttl: object) -> None:
    for call in _ttl_calls(store, ttl):
        with pytest.raises(TypeError, match=type(ttl).__name__):
            call()


def _ttl_calls(store: RecordStore, ttl: object) -> tuple:
    return (
        lambda: store.put(b"k", b"v", ttl=ttl),
        lambda: store.put_many({}, ttl=ttl),
        lambda: store.touch(b"k", ttl),
        lambda: store.touch_many({}, ttl),
    )


@pytest.mark.parametrize(("generation", "error"), [(0, InvalidRequest), (-1, InvalidRequest), ("1", TypeError)])
def test_a_generation_that_cannot_be_is_refused(store: RecordStore, generation: object, error: type[Exception]) -> None:
    for call in (
        lambda: store.put(b"k", b"v", generation=generation),
        lambda: store.delete(b"k", generation=generation),
        lambda: store.touch(b"k", 1, generation=generation),
        lambda: store.touch_many({b"k": generation}, 1),
    ):
        with pytest.raises(error, match="generation"):
            call()


def test_create_only_and_generation_exclude_each_other(store: RecordStore) -> None:
    with pytest.raises(InvalidRequest, match="create_only"):
        store.put(b"k", b"v", create_only=True, generation=1)


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf")])
def test_an_unbounded_or_negative_timeout_is_refused(store: RecordStore, timeout: float) -> None:
    for call in (lambda: store.get(b"k", timeout=timeout), lambda: store.put(b"k", b"v", timeout=timeout)):
        with pytest.raises(InvalidRequest, match="timeout"):
            call()


def test_a_prefix_of_another_type_is_a_type_error(store: RecordStore) -> None:
    with pytest.raises(TypeError, match="str"):
        store.scan("text")


# --- threads and life ------------------------------------------------------------------------------------------------


def test_threads_sharing_a_store_lose_no_increment(store: RecordStore) -> None:
    store.put(b"n", 0)
    with ThreadPoolExecutor(8) as pool:
        sums = list(pool.map(lambda _: store.increment(b"n", 1), range(400)))
    assert sorted(sums) == list(range(1, 401))


def test_of_threads_creating_a_record_one_wins(store: RecordStore) -> None:
    barrier = threading.Barrier(8)

    def create(number: int) -> bool:
        barrier.wait(10)
        try:
            store.put(b"k", number, create_only=True)
        except KeyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))
    assert won.count(True) == 1
    assert store.get(b"k") == Record(won.index(True), 1, None)


def test_records_outlive_the_store(bench: Bench, store: RecordStore) -> None:
    store.put(b"k", b"v")
    store.close()
    assert bench.another().get(b"k") == Record(b"v", 1, None)


@pytest.mark.parametrize("end", ["close", "abandon"])
def test_every_call_after_the_end_is_cancelled(bench: Bench, end: str) -> None:
    store = bench.another()
    store.put(b"k", b"v")
    scan = store.scan()
    if end == "close":
        store.close()
        store.close()
        with pytest.raises(Cancelled):
            next(scan)
    else:
        store = bench.open()
        store.abandon()
    for call in (
        lambda: store.get(b"k"),
        lambda: store.put(b"k", b"v"),
        lambda: store.delete(b"k"),
        lambda: store.touch(b"k", 1),
        lambda: store.exists(b"k"),
        lambda: store.increment(b"k", 1),
        lambda: store.get_many([]),
        lambda: store.put_many({}),
        lambda: store.delete_many([]),
        lambda: store.exists_many([]),
        lambda: store.touch_many({}, None),
        lambda: store.scan(),
        lambda: store.truncate(),
    ):
        with pytest.raises(Cancelled):
            call()


def test_info_tells_kind_and_location(store: RecordStore) -> None:
    schemes = {
        "memory": "mem:",
        "sqlite": "sqlite:///",
        "aerospike": "aerospike://",
        "embedded": "mem:",
        "etcd": "etcd://",
        "database": "db:",
    }
    assert store.info.location.startswith(schemes[store.info.kind])
