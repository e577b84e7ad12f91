"""Locks and elections of an alias: who holds, who waits, taking one away."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from django_etcdaero.exceptions import VersionConflict
from django_etcdaero.inspection import leased_keys, locks
from django_etcdaero.inspection.leases import all_leases
from django_etcdaero.inspection.locks import (
    MOST_LEASES,
    MOST_RANGES,
    Kind,
    all_contended,
    contended,
    lease_statuses,
    release,
    remove_waiter,
)
from django_etcdaero.keyvalue import KV, ops
from django_etcdaero.keyvalue.queue import holder as introducing
from django_etcdaero.system.processes import this_process
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.queue.queueing import Candidate, Waiter


def test_locks_and_elections_are_found_and_told_apart(kv: KV, store: InterposedEngine) -> None:
    lease = kv.lease(60)
    kv.put(f"foreign-lock/{lease.id:x}", "", lease=lease)
    kv.put(f"foreign-election/{lease.id:x}", "node-7", lease=lease)
    kv.put("workers/7", "a key on a lease", lease=lease)
    kv.put("config/abc", "a key on none")
    KV(store, prefix="other/").lock("not-ours").acquire()
    for name in ("jobs/nightly", "jobs", "a\xff%\n"):
        kv.lock(name).acquire()
    kv.election("leader", value="node-1").campaign()
    kv.election("leader/of-all").campaign()
    found = all_contended(kv).found
    assert {each.name.decode(): each.kind for each in found} == {
        "foreign-lock": Kind.LOCK,
        "foreign-election": Kind.ELECTION,
        "jobs/nightly": Kind.LOCK,
        "jobs": Kind.LOCK,
        "a\xff%\n": Kind.LOCK,
        "leader": Kind.ELECTION,
        "leader/of-all": Kind.ELECTION,
    }
    assert [each.name for each in found] == sorted(each.name for each in found)
    for each in found:
        assert contended(kv, each.name) == each
    assert contended(kv, b"nothing") is None


def test_the_queue_is_in_the_order_of_turns_with_who_and_since_when(kv: KV) -> None:
    locks = [kv.lock("jobs") for _ in range(4)]
    locks[0].acquire()
    waiting = [Waiter(each) for each in locks[1:]]
    (found,) = all_contended(kv).found
    assert found.queue == locks[0].queue()
    assert found.holder.token == locks[0].token
    assert len(found.waiters) == 3
    assert all(each.host and each.pid and each.since for each in found.queue)
    for held, waiter in zip(locks, [*waiting, None], strict=True):
        held.release()
        if waiter is not None:
            assert waiter.wait() == "acquired"
    assert all_contended(kv).found == []


def test_candidates_are_known_by_their_second_keys(kv: KV) -> None:
    kv.election("leader", value="node-1").campaign()
    Candidate(kv.election("leader", value="node-2"))
    (found,) = all_contended(kv).found
    assert [bool(each.host and each.pid) for each in found.queue] == [True, True]


def test_a_holder_whose_process_has_ended_is_known_to_be_dead(kv: KV, monkeypatch: pytest.MonkeyPatch) -> None:
    kv.lock("lives").acquire()
    kv.election("leader", value="node-1").campaign()
    assert [each.holder.dead for each in all_contended(kv).found] == [False, False]
    mark = this_process()
    assert mark is not None
    for name, told in {"gone": {**mark, "started": "1"}, "elsewhere": {**mark, "boot": "another"}}.items():
        monkeypatch.setattr(introducing, "this_process", lambda told=told: told)
        kv.lock(name).acquire()
    monkeypatch.setattr(introducing, "this_process", lambda: None)
    kv.lock("of-older-code").acquire()
    assert {each.label for each in all_contended(kv).found if each.holder.dead} == {"gone"}


def test_a_lock_is_taken_only_from_the_holder_that_was_seen(kv: KV) -> None:
    first, second = kv.lock("jobs"), kv.lock("jobs")
    first.acquire()
    waiter = Waiter(second)
    seen = all_contended(kv).found[0].holder.token
    assert release(kv, b"jobs", token=seen).token == seen
    assert waiter.wait() == "acquired"
    with pytest.raises(VersionConflict, match=f"not held with the token {seen}"):
        release(kv, b"jobs", token=seen)
    assert all_contended(kv).found[0].holder.token == second.token
    second.release()
    with pytest.raises(VersionConflict):
        release(kv, b"jobs", token=second.queue()[0].token if second.queue() else seen)


def test_whoever_loses_an_election_by_force_leaves_nothing(kv: KV) -> None:
    election = kv.election("leader", value="node-1")
    election.campaign()
    release(kv, b"leader", token=election.token)
    assert kv.range("", prefix=True).kvs == ()


def test_a_waiter_is_taken_out_of_the_queue(kv: KV) -> None:
    first, second, third = (kv.lock("jobs") for _ in range(3))
    first.acquire()
    waiters = [Waiter(each) for each in (second, third)]
    token = all_contended(kv).found[0].waiters[0].token
    assert remove_waiter(kv, b"jobs", token=token).token == token
    assert "is lost" in str(waiters[0].wait())
    for gone in (token, all_contended(kv).found[0].holder.token):
        with pytest.raises(VersionConflict, match="does not wait"):
            remove_waiter(kv, b"jobs", token=gone)
    first.release()
    assert waiters[1].wait() == "acquired"


def _many(kv: KV, count: int, *, puts: Callable[[int, int], list[tuple[str, int]]]) -> None:
    lease = kv.lease(600)
    written = [each for number in range(count) for each in puts(number, lease.id)]
    for start in range(0, len(written), 100):
        kv.txn().then(*(ops.put(key, "{}", lease=on) for key, on in written[start : start + 100])).commit()


def test_what_lies_between_locks_costs_no_call_for_each(kv: KV, store: InterposedEngine) -> None:
    _many(kv, 300, puts=lambda number, lease: [(f"rows/{number:04}", 0), (f"rows/{number:04}/{lease:x}", lease)])
    store.calls.clear()
    assert len(all_contended(kv).found) == 300
    assert store.calls["range"] <= 2 + MOST_RANGES
    store.calls.clear()
    assert len(lease_statuses(kv, range(1, 1000))) == MOST_LEASES
    assert store.calls["lease_time_to_live"] == MOST_LEASES


def test_when_the_time_is_over_what_is_told_is_whole_and_the_rest_is_counted(
    kv: KV, store: InterposedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    _many(kv, 4, puts=lambda number, lease: [(f"a/{number}/{lease:x}", lease)])
    one, other = kv.lease(600).id, kv.lease(600).id
    kv.txn().then(ops.put(f"b/{one:x}", "{}", lease=one), ops.put(f"b/{other:x}", "{}", lease=other)).commit()
    kv.put(f"c/{one:x}", "{}", lease=one)
    kv.put("records/1", "not looked through")
    kv.put("z", "behind the records")
    assert [len(each.queue) for each in all_contended(kv).found] == [1, 1, 1, 1, 2, 1]
    monkeypatch.setattr(leased_keys, "PAGE", 5)  # the page ends between the two contenders for "b"
    store.calls.clear()
    looked = all_contended(kv, seconds=0.0)
    assert [each.name for each in looked.found] == [b"a/0", b"a/1", b"a/2", b"a/3"]
    assert looked.left_out == 3 + 1, "two keys behind the page, the last one, and half a queue"
    assert store.calls["range"] == 3
    monkeypatch.setattr(locks, "_PAGE", 3)
    looked = all_contended(kv, seconds=0.0)
    assert [each.name for each in looked.found] == [b"a/0", b"a/1", b"a/2"]
    assert looked.left_out == 5
    leases = all_leases(kv, seconds=0.0)
    assert (len(leases.found), leases.left_out) == (2, 3)


@pytest.mark.slow
def test_ten_thousand_locks_take_few_calls(kv: KV, store: InterposedEngine) -> None:
    _many(kv, 10_000, puts=lambda number, lease: [(f"locks/{number:05}/{lease:x}", lease), (f"data/{number}", 0)])
    store.calls.clear()
    assert len(all_contended(kv).found) == 10_000
    assert store.calls["range"] <= 4 + 10
