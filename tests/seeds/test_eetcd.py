"""What eetcd's suites assert about keys, leases and watches, on every engine.

Each test begins with the name of the case there (suites kv, lease and watch; ``get_prefix_range_end``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from django_etcdaero.exceptions import (
    Cancelled,
    Compacted,
    DeadlineExceeded,
    InvalidRequest,
    KeyNotFound,
    LeaseNotFound,
)
from django_etcdaero.keyvalue import KV, Event, EventType, KeyValue, Progress, SortOrder, SortTarget, Watch, ops
from django_etcdaero.keyvalue.keys import prefix_end
from tests.keyvalue.conftest import ETCD
from tests.waiting import wait_until

Connect = Callable[[], KV]


def pairs(kvs: tuple[KeyValue, ...]) -> list[tuple[bytes, bytes]]:
    return [(found.key, found.value) for found in kvs]


def take(watch: Watch[Event], count: int) -> list[Event]:
    """Return the next ``count`` events."""
    return [watch.next(timeout=20) for _ in range(count)]


# --- keys ------------------------------------------------------------------------------------------------------------


def test_put_gives_the_previous_pair_only_when_asked(kv: KV) -> None:
    assert kv.put("a", "1").prev_kv is None
    assert kv.put("a", "2").prev_kv is None
    previous = kv.put("a", "3", prev_kv=True).prev_kv
    assert previous is not None
    assert (previous.key, previous.value, previous.version) == (b"a", b"2", 2)


def test_put_may_keep_the_value_and_refuses_one_along_with_it(kv: KV) -> None:
    kv.put("a", "1")
    with pytest.raises(InvalidRequest, match="value is provided"):
        kv.put("a", "2", ignore_value=True)
    assert kv.put("a", ignore_value=True).revision > 0
    assert pairs(kv.range("a").kvs) == [(b"a", b"1")]
    with pytest.raises(KeyNotFound):
        kv.put("none", ignore_value=True)


def test_put_may_keep_the_lease_and_refuses_one_along_with_it(kv: KV) -> None:
    with kv.lease(60) as lease:
        kv.put("a", "1", lease=lease)
        with pytest.raises(InvalidRequest, match="lease is provided"):
            kv.put("a", "2", lease=lease, ignore_lease=True)
        kv.put("a", "2", ignore_lease=True)
        found = kv.get("a")
        assert found is not None
        assert (found.value, found.lease) == (b"2", lease.id)
        with pytest.raises(KeyNotFound):
            kv.put("none", "1", ignore_lease=True)


def test_put_takes_text_and_bytes_of_any_content(kv: KV) -> None:
    every = bytes(range(256))
    kv.put(every, every)
    kv.put("ключ", "значение")
    assert kv.range(every).kvs[0].value == every
    assert kv.range("ключ".encode()).kvs[0].value == "значение".encode()


def test_range_of_a_missing_key_is_empty(kv: KV) -> None:
    answer = kv.range("none")
    assert (answer.kvs, answer.count, answer.more) == ((), 0, False)
    assert kv.get("none") is None


def test_range_has_limit_order_and_end(kv: KV) -> None:
    for key, value in (("a", "3"), ("b", "2"), ("c", "1"), ("b", "2")):
        kv.put(key, value)
    assert pairs(kv.range("a", "c").kvs) == [(b"a", b"3"), (b"b", b"2")]
    assert pairs(kv.range("b", b"\0").kvs) == [(b"b", b"2"), (b"c", b"1")]
    limited = kv.range("", prefix=True, limit=1)
    assert (len(limited.kvs), limited.more, limited.count) == (1, True, 3)
    assert len(kv.range("", prefix=True, limit=0).kvs) == 3
    orders = {
        SortTarget.KEY: [b"c", b"b", b"a"],
        SortTarget.VALUE: [b"a", b"b", b"c"],
        SortTarget.CREATE: [b"c", b"b", b"a"],
        SortTarget.MOD: [b"b", b"c", b"a"],
    }
    for target, keys in orders.items():
        found = kv.range("", prefix=True, sort_target=target, sort_order=SortOrder.DESCEND).kvs
        assert [item.key for item in found] == keys, target
    assert kv.range("", prefix=True, sort_target=SortTarget.VERSION, sort_order=SortOrder.DESCEND).kvs[0].key == b"b"


def test_range_with_keys_only_has_no_values_and_with_count_only_no_keys(kv: KV) -> None:
    for key in "ab":
        kv.put(key, key)
    assert pairs(kv.range("", prefix=True, keys_only=True).kvs) == [(b"a", b""), (b"b", b"")]
    counted = kv.range("", prefix=True, count_only=True)
    assert (counted.kvs, counted.count) == ((), 2)


def test_range_bounds_of_revisions_leave_the_count_alone(kv: KV) -> None:
    revisions = [kv.put(key, "1").revision for key in "abcd"]
    low, high = revisions[1], revisions[2]
    by_mod = kv.range("", prefix=True, min_mod_revision=low, max_mod_revision=high)
    assert ([item.key for item in by_mod.kvs], by_mod.count) == ([b"b", b"c"], 4)
    by_creation = kv.range("", prefix=True, min_create_revision=low, max_create_revision=high)
    assert ([item.key for item in by_creation.kvs], by_creation.count) == ([b"b", b"c"], 4)


def test_range_of_the_past_and_of_revision_zero_which_is_now(kv: KV) -> None:
    first = kv.put("a", "1").revision
    kv.put("a", "2")
    assert pairs(kv.range("a", revision=first).kvs) == [(b"a", b"1")]
    assert pairs(kv.range("a", revision=0, serializable=True).kvs) == [(b"a", b"2")]


def test_range_first_and_last_by_key_creation_and_change(kv: KV) -> None:
    for key in "bcab":
        kv.put(key, key)
    expected = {SortTarget.KEY: "ac", SortTarget.CREATE: "ba", SortTarget.MOD: "cb"}
    for by, (first, last) in expected.items():
        found = kv.first("", prefix=True, by=by), kv.last("", prefix=True, by=by)
        assert [item and item.key for item in found] == [first.encode(), last.encode()], by
    assert kv.first("none", prefix=True) is None


def test_delete_range_counts_what_was_deleted_and_gives_it_back_when_asked(kv: KV) -> None:
    for key in "abcd":
        kv.put(key, key)
    assert kv.delete("none").deleted == 0
    assert kv.delete("a") == (1, (), kv.range("a").revision)
    gone = kv.delete_range("b", "d", prev_kv=True)
    assert (gone.deleted, pairs(gone.prev_kvs)) == (2, [(b"b", b"b"), (b"c", b"c")])
    assert kv.delete_range("", prefix=True, everything=True).deleted == 1


def test_txn_compares_everything_and_nests(kv: KV) -> None:
    created = kv.put("a", "1").revision
    changed = kv.put("a", "2").revision
    holds = (
        ops.value("a") == "2",
        ops.value("a") != "1",
        ops.version("a") > 1,
        ops.version("a") < 3,
        ops.create_revision("a") == created,
        ops.mod_revision("a") == changed,
        ops.lease_of("a") == 0,
        ops.version("none") == 0,
        ops.value("a", prefix=True) == "2",
    )
    inner = kv.txn().when(ops.version("none") > 0).otherwise(ops.put("inner", "else"))
    done = kv.txn().when(*holds).then(ops.get("a"), ops.put("b", "1"), ops.delete("a"), inner).commit()
    assert done.succeeded
    found, put, deleted, nested = done.responses
    assert pairs(found.kvs) == [(b"a", b"2")]
    assert put.prev_kv is None
    assert deleted.deleted == 1
    assert not nested.succeeded
    assert pairs(kv.range("", prefix=True).kvs) == [(b"b", b"1"), (b"inner", b"else")]
    assert {item.mod_revision for item in kv.range("", prefix=True).kvs} == {done.revision}


def test_compact_forgets_the_past(kv: KV) -> None:
    old = kv.put("a", "1").revision
    new = kv.put("a", "2").revision
    kv.compact(new, physical=True)
    with pytest.raises(Compacted) as caught:
        kv.range("a", revision=old)
    assert caught.value.compact_revision in (0, new)
    assert pairs(kv.range("a", revision=new).kvs) == [(b"a", b"2")]
    with pytest.raises(Compacted):
        kv.compact(old)


def test_prefix_is_what_begins_with_it(kv: KV) -> None:
    for key in ("a", "a/1", "a/2", "a0", "b"):
        kv.put(key, key)
    assert [item.key for item in kv.range("a/", prefix=True).kvs] == [b"a/1", b"a/2"]
    assert kv.range("a", prefix=True).count == 4
    assert kv.delete_range("a/", prefix=True).deleted == 2
    assert [item.key for item in kv.range("", prefix=True).kvs] == [b"a", b"a0", b"b"]


@pytest.mark.parametrize(
    ("prefix", "end"),
    [(b"a", b"b"), (b"a\xff", b"b"), (b"a\xff\xff", b"b"), (b"ab", b"ac"), (b"", b"\0"), (b"\xff", b"\0")],
)
def test_get_prefix_range_end(prefix: bytes, end: bytes) -> None:
    assert prefix_end(prefix) == end


def test_prefix_range_end_of_a_prefix_of_the_highest_bytes(kv: KV) -> None:
    for key in (b"a", b"a\xff", b"a\xff\xff", b"b", b"\xff\xff"):
        kv.put(key, b"")
    assert [item.key for item in kv.range(b"a\xff", prefix=True).kvs] == [b"a\xff", b"a\xff\xff"]
    assert [item.key for item in kv.range(b"\xff", prefix=True).kvs] == [b"\xff\xff"]


# --- leases ----------------------------------------------------------------------------------------------------------


def test_lease_base_grant_tell_list_and_revoke(kv: KV) -> None:
    lease = kv.lease(60, keep_alive=False)
    kv.put("a", "1", lease=lease)
    status = kv.lease_status(lease.id, keys=True)
    assert status.granted_ttl == 60
    assert 0 < status.ttl <= 60
    assert status.keys == (b"a",)
    assert kv.lease_status(lease.id).keys == ()
    assert lease.id in kv.leases()
    lease.revoke()
    assert lease.id not in kv.leases()
    assert kv.get("a") is None


def test_lease_timeout_ends_the_lease_and_its_keys(kv: KV) -> None:
    lease = kv.lease(2, keep_alive=False)
    kv.put("a", "1", lease=lease)
    wait_until(lambda: kv.get("a") is None, 20, "the end of the lease")
    assert lease.lost
    assert kv.lease_status(lease.id).ttl == -1
    with pytest.raises(LeaseNotFound):
        kv.revoke_lease(lease.id)
    with pytest.raises(LeaseNotFound):
        lease.keep_alive()
    with pytest.raises(LeaseNotFound):
        kv.put("a", "1", lease=lease)


def test_lease_keepalive_once_renews_and_tells_the_new_time_to_live(kv: KV) -> None:
    with kv.lease(60, keep_alive=False) as lease:
        wait_until(lambda: kv.lease_status(lease.id).ttl <= 58, what="time to pass")
        assert lease.keep_alive() == 60
        assert kv.lease_status(lease.id).ttl >= 59


def test_lease_keepalive_goes_on_until_the_lease_is_gone_which_its_owner_is_told(kv: KV, connect: Connect) -> None:
    told = threading.Event()
    lease = kv.lease(2)
    lease.on_lost(lambda lost: told.set())
    first = kv.put("a", "1", lease=lease)
    short = kv.lease(2, keep_alive=False)
    wait_until(lambda: kv.lease_status(short.id).ttl == -1, 20, "the end of a lease that is not renewed")
    assert lease.alive
    assert kv.range("a").kvs[0].mod_revision == first.revision
    connect().revoke_lease(lease.id)
    assert told.wait(20)
    assert lease.lost
    assert kv.get("a") is None


def test_lease_close_stops_all_renewals_and_revokes_none_of_them(kv: KV, connect: Connect) -> None:
    other = connect()
    leases = [other.lease(60) for _ in range(3)]
    other.close()
    assert {lease.id for lease in leases} <= set(kv.leases())
    for lease in leases:
        kv.revoke_lease(lease.id)


def test_put_with_lease_and_taken_off_it_again(kv: KV) -> None:
    lease = kv.lease(60)
    for key in "ab":
        kv.put(key, "1", lease=lease.id)
    kv.put("b", "2")
    lease.revoke()
    assert pairs(kv.range("", prefix=True).kvs) == [(b"b", b"2")]


# --- watches ---------------------------------------------------------------------------------------------------------


def test_watch_one_key_sees_its_changes_and_a_deletion_has_no_value(kv: KV) -> None:
    with kv.watch("a") as watch:
        kv.put("a", "1")
        kv.put("ab", "not watched")
        kv.put("a", "2")
        kv.delete("a")
        events = take(watch, 3)
    assert [(event.type, event.kv.value) for event in events] == [
        (EventType.PUT, b"1"),
        (EventType.PUT, b"2"),
        (EventType.DELETE, b""),
    ]
    assert [event.created for event in events] == [True, False, False]


def test_watch_multi_keys_of_a_range_and_from_a_key_on(kv: KV) -> None:
    with kv.watch("b", "d") as ranged, kv.watch("c", b"\0") as onwards:
        for key in "abcd":
            kv.put(key, key)
        assert [event.kv.key for event in take(ranged, 2)] == [b"b", b"c"]
        assert [event.kv.key for event in take(onwards, 2)] == [b"c", b"d"]


def test_watch_with_start_revision_includes_that_revision(kv: KV) -> None:
    kv.put("a", "before")
    start = kv.put("a", "1").revision
    kv.put("a", "2")
    with kv.watch("a", start_revision=start) as watch:
        assert [event.kv.value for event in take(watch, 2)] == [b"1", b"2"]


def test_watch_with_filters_leaves_out_puts_or_deletions(kv: KV) -> None:
    with kv.watch("a", no_put=True) as deletions, kv.watch("a", no_delete=True) as puts:
        for _ in range(2):
            kv.put("a", "1")
            kv.delete("a")
        assert {event.type for event in take(deletions, 2)} == {EventType.DELETE}
        assert {event.type for event in take(puts, 2)} == {EventType.PUT}


def test_watch_keys_with_single_stream_each_gets_its_own_events(kv: KV) -> None:
    with ExitStack() as stack:
        watches = [stack.enter_context(kv.watch(f"k{number}")) for number in range(20)]
        for number in range(20):
            kv.put(f"k{number}", str(number))
        for number, watch in enumerate(watches):
            assert [event.kv.value for event in take(watch, 1)] == [str(number).encode()]
        watches[0].cancel()
        kv.put("k0", "again")
        kv.put("k1", "again")
        assert [event.kv.value for event in take(watches[1], 1)] == [b"again"]
        with pytest.raises(Cancelled):
            watches[0].next(timeout=20)


def test_watch_with_prev_kv_gives_it_only_when_asked(kv: KV) -> None:
    with kv.watch("a", prev_kv=True) as asked, kv.watch("a") as plain:
        kv.put("a", "1")
        kv.put("a", "2")
        kv.delete("a")
        assert [event.prev_kv and event.prev_kv.value for event in take(asked, 3)] == [None, b"1", b"2"]
        assert [event.prev_kv for event in take(plain, 3)] == [None] * 3


def test_watch_with_watch_id_is_not_needed_as_watches_are_objects(kv: KV) -> None:
    with kv.watch("a") as first, kv.watch("a") as second:
        assert first != second
        kv.put("a", "1")
        assert take(first, 1) == take(second, 1)


@pytest.mark.parametrize("engine", [ETCD], indirect=True)  # its server was told to do so every second
def test_watch_with_progress_notify_is_told_how_far_it_is_while_nothing_changes(kv: KV) -> None:
    with kv.watch("a", progress_notify=True) as asked, kv.watch("a") as plain:
        revision = kv.put("b", "1").revision
        item = asked.next(timeout=30)
        while isinstance(item, Progress) and item.revision < revision:
            item = asked.next(timeout=30)
        assert isinstance(item, Progress)
        with pytest.raises(DeadlineExceeded):
            plain.next(timeout=0.05)


def test_watch_with_huge_value_of_a_megabyte_and_many_of_them_at_once(kv: KV) -> None:
    values = [bytes([number]) * size for number, size in enumerate((10, 1000, 100_000, 1_000_000, 1_000_000))]
    with kv.watch("a", fragment=True) as fragmented, kv.watch("a") as watch:
        for value in values:
            kv.put("a", value)
        assert [event.kv.value for event in take(watch, 5)] == values
        assert [event.kv.value for event in take(fragmented, 5)] == values


def test_watch_with_create_cancel_event_is_told_by_the_call_and_by_the_end(kv: KV) -> None:
    watch = kv.watch("a")
    kv.put("a", "after the watch was created")
    assert take(watch, 1)[0].created
    assert not watch.closed
    watch.cancel()
    assert watch.closed
    assert list(watch) == []


def test_watch_is_followed_on_from_a_listing_without_a_gap(kv: KV) -> None:
    kv.put("services/1", "h1")
    listed = kv.range("services/", prefix=True)
    table = dict(pairs(listed.kvs))
    kv.put("services/2", "h2")
    kv.delete("services/1")
    with kv.watch("services/", prefix=True, start_revision=listed.revision + 1) as watch:
        for event in take(watch, 2):
            if event.type is EventType.PUT:
                table[event.kv.key] = event.kv.value
            else:
                del table[event.kv.key]
    assert table == {b"services/2": b"h2"}


def test_a_call_that_takes_too_long_is_a_timeout(kv: KV) -> None:
    with kv.watch("a") as watch, pytest.raises(DeadlineExceeded) as caught:
        watch.next(timeout=0.05)
    assert isinstance(caught.value, TimeoutError)
