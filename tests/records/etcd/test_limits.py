"""What a store in etcd takes: values, records, and how much in one transaction."""

from __future__ import annotations

import pytest

from django_etcdaero.exceptions import KeyExists, OutcomeUnknown, RecordTooBig, StoreFull
from django_etcdaero.keyvalue.values import PutRequest, TxnRequest
from django_etcdaero.records.arguments import MAX_KEY_BYTES
from django_etcdaero.records.etcd import EtcdStore, entries
from django_etcdaero.records.etcd.changes import TRANSACTION_BYTES, TRANSACTION_RECORDS, in_parts
from django_etcdaero.records.etcd.entries import Entries
from django_etcdaero.stores.etcd_records import MOST_VALUE_BYTES
from tests.keyvalue.interposed import InterposedEngine
from tests.records.etcd.conftest import Open

ETCD_BYTES = 1_572_864
"""What etcd takes in one request, by default; the embedded engine takes no more."""


@pytest.fixture
def transactions(engine: InterposedEngine) -> list[TxnRequest]:
    """All transactions that the engine is given."""
    given: list[TxnRequest] = []
    run = engine.txn

    def note(request: TxnRequest, *, timeout: float | None = None) -> object:
        given.append(request)
        return run(request, timeout=timeout)

    engine.txn = note  # type: ignore[assignment,method-assign]
    return given


def test_the_message_of_a_value_that_is_too_big_names_the_limit(open_store: Open) -> None:
    with pytest.raises(RecordTooBig, match="has 11 bytes, the store takes 10"):
        open_store(max_value_bytes=10).put(b"k", b"x" * 11)


def test_the_largest_values_under_the_longest_keys_pass(open_store: Open) -> None:
    store = open_store("/" + "p" * 200 + "/" + "x" * 200 + "/records/", max_value_bytes=MOST_VALUE_BYTES)
    items = {b"%d" % number * MAX_KEY_BYTES: b"x" * MOST_VALUE_BYTES for number in range(3)}
    store.put_many(items)
    assert store.touch_many(dict.fromkeys(items), 60) == set(items)
    assert {key: record.value for key, record in store.get_many(items).items()} == items


@pytest.mark.parametrize("size", [0, 10_000, 23_000, 25_000, 400_000, 800_000])
def test_a_transaction_is_filled_but_not_beyond_what_etcd_takes(
    store: EtcdStore, transactions: list[TxnRequest], size: int
) -> None:
    items = {b"%03d" % number + b"k" * 1000: b"x" * size for number in range(130)}
    store.put_many(items)
    puts = [[each for each in request.success if isinstance(each, PutRequest)] for request in transactions]
    assert sum(len(each) for each in puts) == 2 * 130
    assert max(len(each) for each in puts) <= 2 * TRANSACTION_RECORDS
    assert len(puts) <= 130 // min(TRANSACTION_RECORDS, TRANSACTION_BYTES // (size + 5000)) + 1
    assert set(store.exists_many(items)) == set(items)


def test_parts_hold_what_fits_and_every_key_once() -> None:
    sizes = {b"%d" % number: number * 40_000 for number in range(200)}
    parts = list(in_parts(sizes))
    assert [key for part in parts for key in part] == list(sizes)
    assert all(len(part) == 1 or sum(map(sizes.__getitem__, part)) <= TRANSACTION_BYTES for part in parts)
    assert TRANSACTION_BYTES < ETCD_BYTES
    assert list(in_parts({})) == []


def test_large_values_are_read_a_few_at_a_time(store: EtcdStore, transactions: list[TxnRequest]) -> None:
    small = {b"small %d" % number: b"x" * 1000 for number in range(200)}
    large = {b"large %d" % number: b"x" * 900_000 for number in range(30)}
    for items, parts in ((small, [16, 64, 64, 56]), (large, [16, 4, 4, 4, 2])):
        store.put_many(items)
        transactions.clear()
        assert {key: record.value for key, record in store.get_many(items).items()} == items
        assert [len(request.success) for request in transactions] == parts


def test_after_an_error_the_parts_before_it_are_written(store: EtcdStore, engine: InterposedEngine) -> None:
    items = {b"%03d" % number: b"x" for number in range(3 * TRANSACTION_RECORDS)}
    seen = 0

    def third() -> None:
        nonlocal seen
        seen += 1
        if seen == 3:
            raise OutcomeUnknown("lost")

    engine.before["txn"] = third
    with pytest.raises(OutcomeUnknown):
        store.put_many(items)
    del engine.before["txn"]
    assert set(store.exists_many(items)) == set(list(items)[: 2 * TRANSACTION_RECORDS])


# --- how many records ------------------------------------------------------------------------------------------------


def test_one_record_too_many_is_refused_with_the_limit(open_store: Open) -> None:
    store = open_store(max_entries=10)
    store.put_many({b"%d" % number: b"" for number in range(9)})
    store.put(b"9", b"")
    for call in (
        lambda: store.put(b"10", b""),
        lambda: store.put(b"10", b"", create_only=True),
        lambda: store.put_many({b"0": b"", b"10": b""}),
    ):
        with pytest.raises(StoreFull, match=r"there are 10 records; 1 more .* the limit of 10, .*'entries'"):
            call()
    assert store.get(b"10") is None


def test_a_full_store_overwrites_touches_and_deletes(open_store: Open) -> None:
    store = open_store(max_entries=3)
    store.put_many({b"a": 1, b"b": 1, b"c": 1})
    store.put(b"a", 2)
    store.put_many({b"a": 3, b"b": 2, b"c": 2})
    assert store.increment(b"a", 1) == 4
    assert store.touch(b"a", 60)
    with pytest.raises(KeyExists):
        store.put(b"a", 1, create_only=True)
    assert store.delete(b"a")
    store.put(b"d", 1)
    assert {key for key, _ in store.scan()} == {b"b", b"c", b"d"}


def test_a_batch_that_is_larger_than_the_store_is_refused(open_store: Open) -> None:
    store = open_store(max_entries=100)
    with pytest.raises(StoreFull):
        store.put_many({b"%d" % number: b"" for number in range(101)})
    assert len(list(store.scan())) <= 100


def test_eight_stores_at_once_keep_the_bound_together(open_store: Open) -> None:
    stores = [open_store(max_entries=1000) for _ in range(8)]
    created, full = 0, set()
    while len(full) < len(stores):
        for each in stores:
            try:
                each.put(b"%d" % created, b"")
            except StoreFull:
                full.add(each)
            else:
                created += 1
    assert created == 1000


def test_counting_is_seldom(open_store: Open, engine: InterposedEngine) -> None:
    store = open_store(max_entries=10_000)
    for number in range(500):
        store.put(b"%d" % number, b"", create_only=True)
    assert engine.calls["range"] == 1


def test_what_others_have_deleted_is_noticed(open_store: Open) -> None:
    store, other = open_store(max_entries=5), open_store(max_entries=5)
    store.put_many({b"%d" % number: b"" for number in range(5)})
    other.truncate()
    store.put(b"new", b"")


def test_a_count_is_believed_for_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(entries, "monotonic", lambda: now)
    counts = iter([0, 990])
    bound = Entries(1000)
    assert bound.reserve(1, lambda: next(counts))
    assert bound.reserve(50, lambda: next(counts))
    now += entries.COUNT_AGE
    assert not bound.reserve(50, lambda: next(counts))
