"""Many records, few leases: those that expire in the same minute share one, whoever writes them."""

from __future__ import annotations

import pytest

from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, OutcomeUnknown
from django_etcdaero.keyvalue.values import RangeRequest
from django_etcdaero.records.etcd import EtcdStore
from django_etcdaero.records.etcd.leases import SPARE
from django_etcdaero.records.store import Meta, Record
from tests.keyvalue.interposed import InterposedEngine
from tests.records.conftest import Clock
from tests.records.etcd.conftest import ROOM, Open

HOUR = 3600


def keys(engine: InterposedEngine) -> list[bytes]:
    return [kv.key for kv in engine.inner.range(RangeRequest(b"\0", b"\0")).kvs]


@pytest.fixture
def clock() -> Clock:
    """At the beginning of a minute."""
    clock = Clock()
    clock.base = clock.base // 60 * 60 + 0.5
    return clock


def test_records_of_one_minute_share_a_lease_and_those_without_expiry_have_none(
    store: EtcdStore, engine: InterposedEngine
) -> None:
    store.put_many({b"%d" % number: b"" for number in range(500)}, ttl=HOUR)
    for number in range(20):
        store.put(b"single %d" % number, b"", ttl=HOUR + number)
    store.put(b"stays", b"")
    assert len(engine.lease_list()) == 1
    assert engine.calls["lease_grant"] == 1


def test_another_process_uses_the_lease_that_is_there(open_store: Open, engine: InterposedEngine) -> None:
    for _ in range(3):
        open_store().put(b"k", b"v", ttl=HOUR)
    assert len(engine.lease_list()) == 1
    open_store("other/").put(b"k", b"v", ttl=HOUR)
    assert len(engine.lease_list()) == 2


def test_a_lease_lasts_longer_than_all_of_its_records(store: EtcdStore, engine: InterposedEngine, clock: Clock) -> None:
    store.put(b"k", b"v", ttl=HOUR)
    (lease,) = engine.lease_list()
    status = engine.lease_time_to_live(lease, keys=True)
    assert HOUR + SPARE <= status.granted_ttl <= HOUR + 60 + SPARE
    assert set(status.keys) == set(keys(engine))
    clock.passed += 30
    store.put(b"l", b"v", ttl=HOUR - 20)  # the same minute, though it comes later
    assert engine.lease_list() == (lease,)


def test_the_expiry_that_is_told_is_the_records_own(store: EtcdStore, clock: Clock) -> None:
    store.put_many({b"a": b""}, ttl=HOUR + 1)
    store.put_many({b"b": b""}, ttl=HOUR + 50)
    assert store.exists_many([b"a", b"b"]) == {b"a": Meta(1, HOUR + 1), b"b": Meta(1, HOUR + 50)}
    clock.passed += HOUR + 1
    assert set(store.get_many([b"a", b"b"])) == {b"b"}


def test_the_end_of_a_lease_sweeps_both_keys_of_its_records(store: EtcdStore, engine: InterposedEngine) -> None:
    store.put_many({b"%d" % number: b"" for number in range(10)}, ttl=HOUR)
    store.put(b"stays", b"")
    (lease,) = engine.lease_list()
    engine.lease_revoke(lease)
    room = ROOM.encode()
    assert keys(engine) == [room + b"h:stays", room + b"v:stays"]


def test_touch_moves_a_record_to_the_lease_of_its_new_minute_and_from_all(
    store: EtcdStore, engine: InterposedEngine
) -> None:
    store.put_many({b"a": b"A", b"b": b"B", b"c": b"C"}, ttl=HOUR)
    store.touch(b"a", None)
    store.touch_many({b"b": None}, 2 * HOUR)
    first = min(engine.lease_list(), key=lambda lease: engine.lease_time_to_live(lease).granted_ttl)
    engine.lease_revoke(first)
    assert set(store.get_many([b"a", b"b", b"c"])) == {b"a", b"b"}


def test_increment_leaves_a_record_on_its_lease(store: EtcdStore, engine: InterposedEngine) -> None:
    store.put(b"n", 1, ttl=HOUR)
    assert store.increment(b"n", 1) == 2
    (lease,) = engine.lease_list()
    engine.lease_revoke(lease)
    assert store.get(b"n") is None


def test_a_lease_that_is_gone_is_granted_anew(store: EtcdStore, engine: InterposedEngine) -> None:
    store.put(b"k", b"1", ttl=HOUR)
    engine.lease_revoke(*engine.lease_list())
    store.put(b"k", b"2", ttl=HOUR)
    store.put_many({b"l": b"3"}, ttl=HOUR)
    assert store.get(b"k") == Record(b"2", 1, HOUR)
    assert len(engine.lease_list()) == 1


def test_a_grant_whose_answer_is_lost_is_repeated(store: EtcdStore, engine: InterposedEngine) -> None:
    engine.fail("lease_grant", OutcomeUnknown("lost"), applied=True)
    engine.fail("lease_grant", OutcomeUnknown("lost"))
    store.put(b"k", b"v", ttl=HOUR)
    store.put(b"l", b"v", ttl=2 * HOUR)
    assert len(engine.lease_list()) == 2


def test_without_a_lease_nothing_is_written_and_nothing_is_in_doubt(store: EtcdStore, engine: InterposedEngine) -> None:
    engine.break_("lease_grant", OutcomeUnknown("lost"))
    with pytest.raises(DeadlineExceeded, match="lost"):
        store.put(b"k", b"v", ttl=HOUR, timeout=0.05)
    engine.break_("lease_grant", ClusterError("away"))
    with pytest.raises(ClusterError):
        store.put_many({b"k": b"v"}, ttl=HOUR)
    assert keys(engine) == []
