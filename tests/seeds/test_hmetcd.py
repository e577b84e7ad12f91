"""What hms-hmetcd promises, on every engine, with the corrections where its two backends disagree or crash.

Each test begins with the name of the test or function there: ``TestGetRange`` is ``test_get_range_…`` here.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_etcdaero import schemes
from django_etcdaero.exceptions import (
    Cancelled,
    ConfigurationError,
    DeadlineExceeded,
    InvalidRequest,
    LockLost,
    LockTimeout,
)
from django_etcdaero.keyvalue import KV, EventType, ops
from django_etcdaero.keyvalue.client.watch import WatchItem
from django_etcdaero.stores.address import Plane
from tests.keyvalue.conftest import ENGINES
from tests.keyvalue.etcd.servers import Server
from tests.keyvalue.queue.queueing import in_thread
from tests.waiting import wait_until

Connect = Callable[[], KV]

OPERATORS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt}


def value_of(kv: KV, key: str) -> bytes | None:
    found = kv.get(key)
    return None if found is None else found.value


# --- opening ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ENGINES)
def test_open_by_url_works_and_closing_leaves_what_was_stored(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "etcd":
        server: Server = request.getfixturevalue("shared_server")
        url = f"etcd://{server.endpoint}"
    else:
        url = {"mem": f"mem:{tmp_path.name}", "sqlite": f"sqlite:///{tmp_path}/kv.sqlite3"}[kind]
    for attempt in range(3):
        engine = schemes.open_engine(schemes.parse(url, plane=Plane.KV), timeout=5)
        client = KV(engine, prefix="test-open/")
        assert (client.get("kept") is not None) is (attempt > 0)
        client.put("kept", str(attempt))
        client.close()
        client.close()
        with pytest.raises(Cancelled):
            client.get("kept")
        engine.close()


def test_open_refuses_an_unknown_kind_of_store_by_name() -> None:
    with pytest.raises(ConfigurationError, match="redis"):
        schemes.parse("redis://h:1", plane=Plane.KV)


# --- keys ------------------------------------------------------------------------------------------------------------


def test_store_and_test_get_a_thousand_keys_come_back_and_an_unknown_one_is_no_error(kv: KV) -> None:
    for number in range(1000):
        kv.put(f"key_{number:04}", f"value_{number:04}")
    assert [value_of(kv, f"key_{number:04}") for number in range(1000)] == [
        f"value_{number:04}".encode() for number in range(1000)
    ]
    assert kv.get("key_unknown") is None


def test_store_overwrites_and_an_empty_value_is_not_a_missing_one(kv: KV) -> None:
    kv.put("a", "1")
    kv.put("a", "")
    assert value_of(kv, "a") == b""
    assert value_of(kv, "b") is None


def test_store_takes_the_key_off_its_lease(kv: KV) -> None:
    with kv.lease(60) as lease:
        kv.put("a", "1", lease=lease)
        kv.put("a", "2")
    assert value_of(kv, "a") == b"2"


def test_get_range_has_both_ends_when_the_end_is_given_as_the_next_possible_key(kv: KV) -> None:
    for number in range(1000):
        kv.put(f"key_{number:04}", str(number))
    found = kv.range("key_0100", "key_0500\0").kvs
    assert [item.key.decode() for item in found] == [f"key_{number:04}" for number in range(100, 501)]
    assert [item.value.decode() for item in found] == [str(number) for number in range(100, 501)]
    assert len(kv.range("key_0100", "key_0500").kvs) == 400
    assert kv.range("key_AAAA", "key_BBBB\0").kvs == ()


def test_get_range_may_begin_at_the_first_key_and_be_without_an_end(kv: KV) -> None:
    for key in "abc":
        kv.put(key, key)
    assert [item.key for item in kv.range("", "b\0").kvs] == [b"a", b"b"]
    assert [item.key for item in kv.range("b", b"\0").kvs] == [b"b", b"c"]


def test_delete_removes_the_key_and_of_a_missing_one_it_is_no_error(kv: KV) -> None:
    kv.put("a", "1")
    assert kv.delete("a").deleted == 1
    assert kv.get("a") is None
    assert kv.delete("a").deleted == 0


# --- transactions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "sign", "operand", "branch"),
    [
        ("bbb", "=", "bbb", True),
        ("bbb", "=", "aaa", False),
        ("bbb", "!=", "aaa", True),
        ("bbb", "!=", "bbb", False),
        ("bbb", "<", "ccc", True),
        ("bbb", "<", "bbb", False),
        ("bbb", "<", "aaa", False),
        ("bbb", ">", "aaa", True),
        ("bbb", ">", "ccc", False),
        (None, "=", "", False),
        (None, "!=", "x", False),
        (None, "<", "x", False),
        (None, ">", "", False),
    ],
)
def test_transaction_writes_one_branch_and_a_missing_key_has_no_value_to_compare(
    kv: KV, stored: str | None, sign: str, operand: str, branch: bool
) -> None:
    if stored is not None:
        kv.put("key", stored)
    condition: Any = OPERATORS[sign](ops.value("key"), operand)
    done = kv.txn().when(condition).then(ops.put("then", "1")).otherwise(ops.put("else", "1")).commit()
    assert done.succeeded is branch
    assert [item.key for item in kv.range("", prefix=True, keys_only=True).kvs if item.key != b"key"] == [
        b"then" if branch else b"else"
    ]


def test_transaction_with_an_unknown_operator_is_refused_at_once_and_writes_nothing(kv: KV) -> None:
    with pytest.raises(TypeError):
        ops.value("key") % "x"  # type: ignore[operator]
    with pytest.raises(InvalidRequest, match="not True"):
        kv.txn().when(True)  # type: ignore[arg-type]
    assert kv.range("", prefix=True).count == 0


def test_transaction_with_an_empty_key_is_an_error() -> None:
    with pytest.raises(InvalidRequest, match="key is empty"):
        ops.put("", "1")


def test_tas_sets_on_a_match_keeps_on_a_mismatch_and_never_makes_a_missing_key(kv: KV) -> None:
    kv.put("a", "1")
    assert kv.test_and_set("a", "1", "2") is True
    assert value_of(kv, "a") == b"2"
    assert kv.test_and_set("a", "1", "3") is False
    assert value_of(kv, "a") == b"2"
    assert kv.test_and_set("b", "", "3") is False
    assert kv.get("b") is None


# --- temporary keys --------------------------------------------------------------------------------------------------


def test_temp_key_is_there_while_it_is_held_and_gone_at_once_afterwards(kv: KV) -> None:
    with kv.temporary_key("alive", ttl=2):
        assert value_of(kv, "alive") == b"1"
        found = kv.get("alive")
        assert found is not None
        assert found.lease != 0
    assert kv.get("alive") is None


def test_temp_key_comes_back_when_its_lease_or_the_key_itself_was_taken_away(kv: KV) -> None:
    with kv.temporary_key("alive", ttl=2):
        first = kv.get("alive")
        assert first is not None
        kv.revoke_lease(first.lease)
        wait_until(lambda: kv.get("alive") is not None, 20, "the key on another lease")
        kv.delete("alive")
        wait_until(lambda: kv.get("alive") is not None, 20, "the key once more")
    assert kv.get("alive") is None


def test_temp_key_goes_with_its_client(kv: KV, connect: Connect) -> None:
    other = connect()
    other.temporary_key("alive", ttl=2).__enter__()
    assert kv.get("alive") is not None
    other.close()
    wait_until(lambda: kv.get("alive") is None, 20, "the end of the key")


# --- the lock --------------------------------------------------------------------------------------------------------


def test_dist_lock_is_taken_and_given_back(kv: KV) -> None:
    lock = kv.lock("hbtd_dist_lock")
    lock.acquire()
    assert lock.held
    lock.release()
    assert not lock.held
    lock.acquire()
    lock.release()


def test_dist_lock_waits_until_the_holder_gives_it_back(kv: KV, connect: Connect) -> None:
    order: list[str] = []
    first, second = kv.lock("L"), connect().lock("L")
    first.acquire()
    waiter = in_thread(lambda: (second.acquire(60), order.append("second")))
    wait_until(lambda: len(first.queue()) == 2, what="the waiter in line")
    order.append("first")
    first.release()
    waiter.join(60)
    assert order == ["first", "second"]
    second.release()


def test_dist_timed_lock_ends_in_time_and_leaves_no_waiter_behind(kv: KV, connect: Connect) -> None:
    with kv.lock("L") as held:
        with pytest.raises(LockTimeout):
            connect().lock("L").acquire(0.2)
        with pytest.raises(LockTimeout):
            connect().lock("L").acquire(0)
        assert [holder.token for holder in held.queue()] == [held.token]


def test_dist_timed_lock_is_held_for_longer_than_its_time_to_live(kv: KV, connect: Connect) -> None:
    with kv.lock("L", ttl=2) as lock:
        as_long = kv.lease(2, keep_alive=False)
        wait_until(lambda: kv.lease_status(as_long.id).ttl == -1, 20, "the end of a lease that is not renewed")
        lock.check()
        assert not connect().lock("L").try_acquire()


def test_dist_timed_lock_keys_are_those_of_other_clients_of_etcd(kv: KV) -> None:
    with kv.lock("hbtd_dist_lock", ttl=5) as lock:
        holder = lock.holder()
        assert holder is not None
        assert kv.get(f"hbtd_dist_lock/{holder.lease:x}") is not None


def test_dist_timed_lock_taken_twice_by_one_object_is_an_error(kv: KV) -> None:
    with kv.lock("L") as lock, pytest.raises(InvalidRequest, match="already"):
        lock.acquire(1)


def test_dist_unlock_of_what_is_not_held_is_told_and_touches_nobody_else_s_lock(kv: KV, connect: Connect) -> None:
    with kv.lock("L") as held:
        with pytest.raises(InvalidRequest, match="not held"):
            connect().lock("L").release()
        held.check()


def test_dist_unlock_after_the_lease_was_lost_says_so(kv: KV, connect: Connect) -> None:
    lock = kv.lock("L")
    lock.acquire()
    holder = lock.holder()
    assert holder is not None
    connect().revoke_lease(holder.lease)
    wait_until(lambda: lock.lost, 20, "the loss to be noticed")
    with pytest.raises(LockLost):
        lock.release()


# --- watching --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "change", "kind", "value"),
    [
        ("1", lambda kv: kv.put("key", "2"), EventType.PUT, b"2"),
        ("1", lambda kv: kv.put("key", "1"), EventType.PUT, b"1"),
        (None, lambda kv: kv.put("key", "2"), EventType.PUT, b"2"),
        ("1", lambda kv: kv.delete("key"), EventType.DELETE, b""),
    ],
    ids=["changed", "same value", "created", "deleted"],
)
def test_watch_returns_the_first_change_of_a_key(
    kv: KV, before: str | None, change: Callable[[KV], object], kind: EventType, value: bytes
) -> None:
    if before is not None:
        kv.put("key", before)
    since = kv.range("key").revision + 1
    change(kv)
    kv.put("key", "later")
    event = kv.wait_for_change("key", start_revision=since, timeout=20)
    assert (event.type, event.kv.key, event.kv.value) == (kind, b"key", value)


def test_watch_blocks_until_there_is_a_change(kv: KV) -> None:
    changes: list[bytes] = []
    waiter = in_thread(lambda: changes.append(kv.wait_for_change("key", timeout=60).kv.value))

    def noticed() -> bool:
        kv.put("key", "now")
        return bool(changes)

    wait_until(noticed, 20, "the change to be noticed")
    waiter.join(20)
    assert changes == [b"now"]


def test_watch_that_sees_no_change_ends_in_time(kv: KV) -> None:
    with pytest.raises(DeadlineExceeded):
        kv.wait_for_change("key", timeout=0.1)


def kinds(items: list[WatchItem]) -> list[tuple[str, bytes]]:
    return [(item.type.name, item.kv.value) for item in items]  # type: ignore[union-attr]


@pytest.mark.parametrize(("only", "filters"), [("PUT", {"no_delete": True}), ("DELETE", {"no_put": True})])
def test_watch_with_cb_is_called_for_the_chosen_kind_of_change_only(kv: KV, only: str, filters: dict[str, Any]) -> None:
    seen: list[WatchItem] = []
    watch = kv.watch("key", callback=seen.append, **filters)
    for _ in range(3):
        kv.put("key", "x")
        kv.delete("key")
    wait_until(lambda: len(seen) == 3, what="three changes")
    assert {kind for kind, _ in kinds(seen)} == {only}
    assert not watch.closed
    watch.cancel()


def test_watch_with_cb_misses_nothing_after_it_returned_not_even_changes_of_one_batch(kv: KV) -> None:
    seen: list[WatchItem] = []
    watch = kv.watch("k", prefix=True, callback=seen.append)
    kv.txn().then(*(ops.put(f"k{number}", str(number)) for number in range(50))).commit()
    kv.put("k", "last")
    wait_until(lambda: len(seen) == 51, what="all changes")
    assert [value for _, value in kinds(seen)] == [*(str(number).encode() for number in range(50)), b"last"]
    watch.cancel()


def test_watch_with_cb_ends_when_the_callback_returns_false(kv: KV) -> None:
    seen: list[WatchItem] = []

    def once(item: WatchItem) -> bool:
        seen.append(item)
        return False

    watch = kv.watch("key", callback=once)
    kv.put("key", "1")
    kv.put("key", "2")
    wait_until(lambda: watch.closed, what="the end of the watch")
    assert kinds(seen) == [("PUT", b"1")]


def test_watch_cb_cancel_stops_the_callbacks_and_may_be_repeated(kv: KV) -> None:
    seen: list[WatchItem] = []
    beacon: list[WatchItem] = []
    watch = kv.watch("key", callback=seen.append)
    witness = kv.watch("key", callback=beacon.append)
    for _ in range(3):
        watch.cancel()
    kv.put("key", "1")
    wait_until(lambda: beacon, what="another watch to see the change")
    assert watch.closed
    assert seen == []
    witness.cancel()


def test_close_ends_watches_that_wait_without_harm(kv: KV, connect: Connect) -> None:
    other = connect()
    watch = other.watch("key")
    results: list[object] = []

    def wait() -> None:
        try:
            watch.next(timeout=60)
        except Cancelled as error:
            results.append(error)

    waiter = in_thread(wait)
    other.close()
    waiter.join(20)
    assert len(results) == 1
