"""What only the store in memory does: it removes the records of a group that were used longest ago."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from django_etcdaero.records.memory.store import MemoryStore, drop_memory
from tests.records.conftest import Clock

START, LENGTH = b"e", 2
"""Groups: ``ea…``, ``eb…`` and so on."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Iterator[MemoryStore]:
    name = uuid.uuid4().hex
    store = MemoryStore(name, clock=clock)
    store.follow(START, LENGTH)
    yield store
    store.close()
    drop_memory(name)


def put(store: MemoryStore, *keys: bytes) -> None:
    for key in keys:
        store.put(key, key)


def left(store: MemoryStore) -> list[bytes]:
    return sorted(key for key, _ in store.scan())


def test_those_used_longest_ago_go(store: MemoryStore) -> None:
    put(store, b"ea1", b"ea2", b"ea3", b"ea4")
    assert store.evict(b"ea", 4, 2) == {}
    store.get(b"ea1")
    store.touch(b"ea2", 60)
    assert store.evict(b"ea", 3, 4) == {b"ea3": b"ea3"}
    assert left(store) == [b"ea1", b"ea2", b"ea4"]


def test_one_of_so_many_goes_or_as_many_as_are_too_much(store: MemoryStore) -> None:
    put(store, *(b"ea%d" % number for number in range(9)))
    assert len(store.evict(b"ea", 8, 3)) == 3
    assert len(store.evict(b"ea", 2, 3)) == 4
    assert left(store) == [b"ea7", b"ea8"]


@pytest.mark.parametrize("most", [2, 0, -1])
def test_the_last_one_stays(store: MemoryStore, most: int) -> None:
    put(store, b"ea1", b"ea2", b"ea3")
    store.evict(b"ea", most, 0)
    assert left(store) == [b"ea3"]
    assert store.evict(b"ea", -1, 1) == {}


def test_other_groups_and_what_is_not_followed_stay(store: MemoryStore) -> None:
    put(store, b"ea1", b"ea2", b"eb1", b"eb2", b"x1", b"x2")
    store.evict(b"ea", 1, 1)
    assert store.evict(b"x1", 0, 0) == {}
    assert left(store) == [b"ea2", b"eb1", b"eb2", b"x1", b"x2"]


def test_what_was_deleted_or_has_expired_does_not_count(store: MemoryStore, clock: Clock) -> None:
    put(store, b"ea1", b"ea2", b"ea3")
    store.put(b"ea4", 1, ttl=1)
    store.delete(b"ea1")
    clock.passed += 3
    assert store.evict(b"ea", 2, 1) == {}
    store.truncate()
    put(store, b"ea1")
    assert store.evict(b"ea", 1, 1) == {}


def test_records_of_before_count(clock: Clock) -> None:
    name = uuid.uuid4().hex
    store = MemoryStore(name, clock=clock)
    put(store, b"ea1", b"ea2")
    for _ in range(2):
        store.follow(START, LENGTH)
    assert store.evict(b"ea", 1, 2) == {b"ea1": b"ea1"}
    store.close()
    drop_memory(name)


def test_keys_that_begin_otherwise_may_be_in_one_group(store: MemoryStore) -> None:
    put(store, b"da1", b"db1")
    store.follow(b"d", LENGTH, like=b"e")
    put(store, b"ea1", b"da2", b"x")
    store.get(b"da1")
    assert store.evict(b"ea", 2, 2) == {b"ea1": b"ea1"}
    assert left(store) == [b"da1", b"da2", b"db1", b"x"]
