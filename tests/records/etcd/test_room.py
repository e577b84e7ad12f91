"""Where records stand in etcd, and what else may stand there."""

from __future__ import annotations

import pytest

from django_etcdaero.exceptions import ResponseError
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest
from django_etcdaero.records.etcd import EtcdStore
from django_etcdaero.records.store import Record
from tests.keyvalue.interposed import InterposedEngine
from tests.records.etcd.conftest import ROOM, Open


def test_every_key_is_in_the_room(store: EtcdStore, engine: InterposedEngine) -> None:
    store.put_many({b"a": b"A", b"\xff\xff": b"", b"n": 1}, ttl=60)
    store.increment(b"n", 1)
    keys = [kv.key for kv in engine.range(RangeRequest(b"\0", b"\0")).kvs]
    assert len(keys) == 6
    assert all(key.startswith(ROOM.encode()) for key in keys)


def test_rooms_do_not_see_each_other(open_store: Open) -> None:
    """Also where one name begins like another, or a room stands inside another one's."""
    rooms = [
        "/a/",
        "/a/shop/records/",
        "/a/shop/records/shop/records/",
        "/ab/",
        "shop/records/",
        "shop/records/h/records/",
    ]
    stores = {room: open_store(room) for room in rooms}
    for room, store in stores.items():
        store.put_many({b"k": room.encode(), b"shop/records/h:k": b"", b"\xff": b""})
    for room, store in stores.items():
        assert store.get(b"k") == Record(room.encode(), 1, None)
        assert len(list(store.scan())) == 3
    stores["/a/"].truncate()
    stores["shop/records/"].truncate()
    assert [room for room, store in stores.items() if store.exists(b"k")] == [
        room for room in rooms if room not in ("/a/", "shop/records/")
    ]


def test_keys_of_users_survive_and_are_no_records(store: EtcdStore, engine: InterposedEngine) -> None:
    kv = KV(engine, prefix="shop/")
    for key in ("records", "record/h:k", "recordt/h:k", "a", "zz"):
        kv.put(key, "mine")
    store.put(b"k", b"v")
    assert [key for key, _ in store.scan()] == [b"k"]
    store.truncate()
    assert len(kv.range("", prefix=True).kvs) == 5
    kv.close()


@pytest.mark.parametrize(
    "rubbish", [b"", b"\1", b"\2" + b"\0" * 17, b"\1\7" + b"\0" * 16, b"text that somebody put there"]
)
def test_what_is_no_record_is_told_and_can_be_removed(
    store: EtcdStore, engine: InterposedEngine, rubbish: bytes
) -> None:
    room = ROOM.encode()
    for kind in (b"h:", b"v:"):
        engine.put(PutRequest(room + kind + b"k", rubbish))
    for call in (
        lambda: store.get(b"k"),
        lambda: store.get_many([b"k", b"l"]),
        lambda: store.exists(b"k"),
        lambda: store.exists_many([b"k", b"l"]),
        lambda: store.put(b"k", b"v"),
        lambda: store.touch_many({b"k": None, b"l": None}, 60),
        lambda: list(store.scan()),
    ):
        with pytest.raises(ResponseError, match=r"shop/records/.:k.* is no record"):
            call()
    store.truncate()
    store.put(b"k", b"v")
    assert store.get(b"k") == Record(b"v", 1, None)


def test_expired_records_that_are_not_swept_yet_do_not_count_as_records(open_store: Open) -> None:
    store = open_store(max_entries=2, clock=lambda: 1000.0)
    store.put_many({b"a": b"", b"b": b""}, ttl=10)
    later = open_store(max_entries=2, clock=lambda: 1010.0)
    assert later.get_many([b"a", b"b"]) == {}
    later.put(b"a", b"new", create_only=True)
    assert later.get(b"a") == Record(b"new", 1, None)
    later.put_many({b"a": b"newer", b"b": b"new"})
    assert later.get_many([b"a", b"b"]) == {b"a": Record(b"newer", 2, None), b"b": Record(b"new", 1, None)}
