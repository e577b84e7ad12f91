"""Semaphores and read/write locks are shown as what they are, whoever holds them."""

from __future__ import annotations

import pytest

from django_etcdaero.exceptions import VersionConflict
from django_etcdaero.inspection.locks import Contended, Kind, all_contended, contended, release, remove_waiter
from django_etcdaero.keyvalue import KV
from tests.keyvalue.queue.queueing import Waiter


def only(kv: KV) -> Contended:
    (found,) = all_contended(kv).found
    assert contended(kv, found.name) == found
    return found


def test_a_semaphore_has_as_many_holders_as_its_limit(kv: KV) -> None:
    held = [kv.semaphore("reports", 2) for _ in range(2)]
    for each in held:
        each.acquire()
    waiter = Waiter(kv.semaphore("reports"))
    found = only(kv)
    assert (found.label, found.kind) == ("reports", Kind.SEMAPHORE)
    assert [each.token for each in found.holders] == [each.token for each in held]
    assert (len(found.waiters), found.limit) == (1, 2)
    with pytest.raises(VersionConflict):
        release(kv, b"reports", token=found.waiters[0].token)
    assert release(kv, b"reports", token=held[1].token) == found.holders[1]
    assert waiter.wait() == "acquired"


def test_readers_and_writers_are_one_queue(kv: KV) -> None:
    rwlock = kv.rwlock("prices/all")
    readers = [rwlock.read() for _ in range(2)]
    for each in readers:
        each.acquire()
    waiters = [Waiter(rwlock.write()), Waiter(rwlock.read())]
    found = only(kv)
    assert (found.label, found.kind, found.held) == ("prices/all", Kind.RWLOCK, 2)
    assert found.queue == rwlock.queue()
    assert [each.role for each in found.queue] == ["read", "read", "write", "read"]
    assert remove_waiter(kv, b"prices/all", token=found.waiters[0].token) == found.waiters[0]
    assert "is lost" in str(waiters[0].wait())
    assert waiters[1].wait() == "acquired"
    assert release(kv, b"prices/all", token=readers[0].token) == found.holders[0]
    assert only(kv).held == 2


def test_readers_and_writers_of_etcds_go_client_are_known_by_the_time(kv: KV) -> None:
    lease = kv.lease(60)
    first = kv.put("sides/write/1700000000000000001", "", lease=lease).revision
    kv.put("sides/read/1700000000000000002", "", lease=lease)
    found = only(kv)
    assert (found.label, found.kind, found.held) == ("sides", Kind.RWLOCK, 1)
    assert (found.holder.role, found.holder.token) == ("write", first)
    assert release(kv, b"sides", token=first).token == first
    assert [each.role for each in only(kv).holders] == ["read"]


def test_locks_that_are_only_called_like_sides_stay_locks(kv: KV) -> None:
    for name in ("file/read", "file/write"):
        kv.lock(name).acquire()
    found = {each.label: each.kind for each in all_contended(kv).found}
    assert found == {"file/read": Kind.LOCK, "file/write": Kind.LOCK}
    assert contended(kv, b"file") is None
