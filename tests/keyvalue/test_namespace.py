"""A namespace is a client of the keys below a further prefix; it shares everything else with its parent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from django_etcdaero.exceptions import Cancelled, InvalidRequest, LockTimeout
from django_etcdaero.keyvalue import KV, Engine, Event, ops
from django_etcdaero.keyvalue.values import RangeResult
from tests.waiting import wait_until


@pytest.fixture
def kv(engine: Engine, at: Callable[[str], bytes]) -> Iterator[KV]:
    client = KV(engine, prefix=at("app/"), identity={"role": "worker"})
    yield client
    client.close()


def names(kv: KV) -> list[bytes]:
    return [found.key for found in kv.range("", prefix=True).kvs]


def test_keys_are_below_the_further_prefix(kv: KV) -> None:
    view = kv.namespace("a/")
    view.put("x", "1")
    kv.put("b", "2")
    assert names(view) == [b"x"]
    assert names(kv) == [b"a/x", b"b"]
    assert view.prefix == kv.prefix + b"a/"
    found = view.get("x")
    assert found is not None
    assert (found.key, found.value) == (b"x", b"1")
    assert view.get("b") is None
    assert view.delete_range("", prefix=True).deleted == 1
    assert names(kv) == [b"b"]


def test_namespaces_nest_and_take_str_and_bytes(kv: KV) -> None:
    inner = kv.namespace("a/").namespace(b"b/")
    inner.put("x", "1")
    assert names(kv) == [b"a/b/x"]
    same = kv.namespace("")
    assert names(same) == [b"a/b/x"]
    with pytest.raises(InvalidRequest, match="prefix must be str or bytes, not int"):
        kv.namespace(7)  # type: ignore[arg-type]


def test_the_prefix_is_hidden_in_transactions_and_what_they_answer(kv: KV) -> None:
    view = kv.namespace("a/")
    inner = view.txn().when(ops.version("y") == 0).then(ops.put("y", "1"), ops.get("", prefix=True))
    outer = view.txn().when(ops.create_revision("x") == 0).then(ops.put("x", "1"), inner).commit()
    assert outer.succeeded
    found = outer.responses[1].responses[1]  # type: ignore[union-attr]
    assert isinstance(found, RangeResult)
    assert [each.key for each in found.kvs] == [b"x", b"y"]
    assert names(kv) == [b"a/x", b"a/y"]


def test_the_prefix_is_hidden_in_watches(kv: KV) -> None:
    view = kv.namespace("a/")
    with view.watch("", prefix=True, prev_kv=True) as watch:
        kv.put("b", "not in the namespace")
        kv.put("a/x", "1")
        kv.put("a/x", "2")
        first, second = watch.next(timeout=10), watch.next(timeout=10)
    assert isinstance(first, Event)
    assert isinstance(second, Event)
    assert (first.kv.key, first.kv.value) == (b"x", b"1")
    assert second.prev_kv is not None
    assert second.prev_kv.key == b"x"


def test_the_prefix_is_hidden_in_the_keys_of_leases(kv: KV) -> None:
    view = kv.namespace("a/")
    with view.lease(60) as lease:
        view.put("x", "1", lease=lease)
        kv.put("b", "2", lease=lease)
        assert lease.time_to_live(keys=True).keys == (b"x",)
        assert view.lease_status(lease.id, keys=True).keys == (b"x",)
        assert set(kv.lease_status(lease, keys=True).keys) == {b"a/x", b"b"}


def test_engine_sessions_and_identity_are_the_parents(kv: KV) -> None:
    view = kv.namespace("a/")
    assert view.engine is kv.engine
    assert view.session(10) is kv.session(10)
    assert dict(view.identity) == {"role": "worker"}
    with view.lock("l") as lock:
        holder = kv.lock("a/l").holder()
        assert holder is not None
        assert (holder.token, dict(holder.identity)) == (lock.token, {"role": "worker"})


def test_one_lock_under_two_names_excludes_within_one_session(kv: KV) -> None:
    first, second = kv.namespace("a/").lock("b", ttl=10), kv.lock("a/b", ttl=10)
    first.acquire(5)
    with pytest.raises(LockTimeout):
        second.acquire(0)
    got: list[int] = []

    def wait() -> None:
        second.acquire(20)
        got.append(second.token)

    waiter = threading.Thread(target=wait)
    waiter.start()
    wait_until(lambda: len(kv.lock("a/b").queue()) == 2, what="both in one line")
    assert not got
    token = first.token
    first.release()
    waiter.join(20)
    assert got
    assert got[0] > token
    second.release()


def test_locks_of_one_name_in_two_namespaces_have_nothing_to_do_with_each_other(kv: KV) -> None:
    with kv.namespace("a/").lock("l", timeout=5), kv.namespace("b/").lock("l", timeout=5) as other:
        assert other.held


def test_closing_the_client_closes_its_namespaces(kv: KV) -> None:
    view = kv.namespace("a/")
    watch = view.watch("", prefix=True)
    lease = view.session(10).lease
    kv.close()
    assert view.closed
    assert watch.closed
    assert not lease.alive
    for call in (lambda: view.get("x"), lambda: view.put("x"), lambda: view.namespace("b/").get("x")):
        with pytest.raises(Cancelled):
            call()


def test_a_namespace_cannot_end_the_lives_of_others(kv: KV) -> None:
    view = kv.namespace("a/")
    for end in (view.close, view.abandon):
        with pytest.raises(InvalidRequest, match="namespace"):
            end()
    assert not kv.closed
    kv.put("x", "1")
