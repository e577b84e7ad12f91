from __future__ import annotations

import threading

import pytest

from django_etcdaero.exceptions import ClusterError, LeaseNotFound
from django_etcdaero.keyvalue import KV, Lease
from django_etcdaero.keyvalue.client.lease import clock
from tests.keyvalue.interposed import InterposedEngine
from tests.waiting import wait_until


def test_keys_live_as_long_as_their_lease(kv: KV) -> None:
    lease = kv.lease(60)
    kv.put("a", "1", lease=lease)
    kv.put("b", "1", lease=lease.id)
    status = lease.time_to_live(keys=True)
    assert status.granted_ttl == 60
    assert sorted(status.keys) == [b"a", b"b"]
    lease.revoke()
    assert kv.range("", prefix=True).kvs == ()
    assert lease.time_to_live().ttl == -1
    assert not lease.alive
    assert not lease.lost
    lease.revoke()


def test_a_lease_may_have_a_chosen_id(kv: KV) -> None:
    with kv.lease(60, id=12345) as lease:
        assert lease.id == 12345
        assert lease.alive
    assert not lease.alive


def test_a_lease_is_renewed_in_the_background(kv: KV, store: InterposedEngine) -> None:
    lease = kv.lease(2)
    first = lease.deadline
    wait_until(lambda: store.calls["lease_keep_alive"] >= 4, what="four renewals")
    assert clock() > first
    assert lease.alive
    assert lease.time_to_live().ttl > 0


def test_one_thread_renews_all_leases_of_a_client(kv: KV, store: InterposedEngine) -> None:
    before = set(threading.enumerate())
    leases = [kv.lease(2) for _ in range(10)]
    started = [thread.name for thread in set(threading.enumerate()) - before]
    assert started.count("etcdaero-lease") == 1
    last = max(lease.deadline for lease in leases)
    wait_until(lambda: clock() > last, what="the time of all first grants")
    assert all(lease.alive for lease in leases)


def test_renewal_goes_on_after_errors(kv: KV, store: InterposedEngine) -> None:
    store.fail("lease_keep_alive", ClusterError("away"), times=4)
    lease = kv.lease(2)
    first = lease.deadline
    wait_until(lambda: clock() > first, what="the time of the first grant")
    assert lease.alive


def test_a_lease_that_cannot_be_renewed_is_lost_at_its_deadline(kv: KV, store: InterposedEngine) -> None:
    store.break_("lease_keep_alive", ClusterError("away"))
    lease = kv.lease(2)
    told: list[Lease] = []
    lease.on_lost(told.append)
    wait_until(lambda: told, what="the callback")
    assert told == [lease]
    assert lease.lost
    assert clock() >= lease.deadline


def test_a_lease_that_is_not_kept_alive_runs_out_without_a_renewal(kv: KV, store: InterposedEngine) -> None:
    lease = kv.lease(2, keep_alive=False)
    kv.put("a", "1", lease=lease)
    wait_until(lambda: lease.lost, what="the loss")
    assert store.calls["lease_keep_alive"] == 0
    wait_until(lambda: kv.get("a") is None, what="the key's end")


def test_the_deadline_counts_from_before_the_request(kv: KV, store: InterposedEngine) -> None:
    seen: list[float] = []
    store.before["lease_grant"] = store.before["lease_keep_alive"] = lambda: seen.append(clock())
    lease = kv.lease(60, keep_alive=False)
    assert lease.deadline <= seen[-1] + lease.ttl
    granted = lease.deadline
    lease.keep_alive()
    assert granted < lease.deadline <= seen[-1] + lease.ttl


def test_an_answer_after_the_loss_does_not_bring_a_lease_back(kv: KV, store: InterposedEngine) -> None:
    lease = kv.lease(60, keep_alive=False)
    store.before["lease_keep_alive"] = lambda: lease.end(lost=True)
    with pytest.raises(LeaseNotFound, match="while it was being renewed"):
        lease.keep_alive()
    assert lease.lost
    with pytest.raises(LeaseNotFound, match="has ended"):
        lease.keep_alive()
    assert store.calls["lease_keep_alive"] == 1


def test_a_lease_that_the_store_does_not_know_is_lost(kv: KV, store: InterposedEngine) -> None:
    lease = kv.lease(60)
    told = threading.Event()
    lease.on_lost(lambda lost: told.set())
    store.inner.lease_revoke(lease.id)
    assert lease.alive
    with pytest.raises(LeaseNotFound):
        lease.keep_alive()
    assert lease.lost
    assert told.wait(10)


def test_the_background_notices_that_the_store_does_not_know_a_lease(kv: KV, store: InterposedEngine) -> None:
    lease = kv.lease(5)
    store.inner.lease_revoke(lease.id)
    wait_until(lambda: lease.lost, timeout=4.5, what="the loss, before the deadline")


def test_callbacks_for_a_loss_run_once_each_also_late_ones_and_whatever_others_do(kv: KV) -> None:
    lease = kv.lease(60)
    calls: list[str] = []
    lease.on_lost(lambda lost: calls.append("first"))
    lease.on_lost(lambda lost: 1 / 0)
    lease.on_lost(lambda lost: calls.append("second"))
    lease.end(lost=True)
    lease.end(lost=True)
    lease.on_lost(lambda lost: calls.append(threading.current_thread().name))
    wait_until(lambda: len(calls) == 3, what="three callbacks")
    assert calls == ["first", "second", "etcdaero-losses"]


def test_revoking_is_no_loss(kv: KV) -> None:
    calls: list[Lease] = []
    lease, other = kv.lease(60), kv.lease(60)
    lease.on_lost(calls.append)
    lease.revoke()
    lease.on_lost(calls.append)
    other.on_lost(calls.append)
    other.end(lost=True)
    wait_until(lambda: calls, what="the other lease's callback")
    assert calls == [other]


def test_the_end_of_a_with_block_survives_a_store_that_is_away(kv: KV, store: InterposedEngine) -> None:
    store.fail("lease_revoke", ClusterError("away"))
    with kv.lease(60) as lease:
        pass
    assert not lease.alive


# --- sessions --------------------------------------------------------------------------------------------------------


def test_a_session_is_shared_by_all_who_ask_for_its_ttl(kv: KV, store: InterposedEngine) -> None:
    found = []
    threads = [threading.Thread(target=lambda: found.append(kv.session(30))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(set(found)) == 1
    assert store.calls["lease_grant"] == 1
    assert kv.session(31) is not found[0]


def test_a_lost_or_abandoned_session_is_replaced(kv: KV) -> None:
    first = kv.session(30)
    first.lease.end(lost=True)
    assert first.lost
    second = kv.session(30)
    assert second is not first
    second.abandon()
    assert second.lease.alive
    assert kv.session(30) is not second


def test_an_abandoned_session_runs_out_and_takes_its_keys_along(kv: KV, store: InterposedEngine) -> None:
    session = kv.session(2)
    kv.put("a", "1", lease=session.lease)
    session.abandon()
    wait_until(lambda: kv.get("a") is None, what="the key's end")
    wait_until(lambda: session.lost, what="the loss")


def test_a_session_that_cannot_be_granted_leaves_the_next_one_possible(kv: KV, store: InterposedEngine) -> None:
    store.fail("lease_grant", ClusterError("away"))
    with pytest.raises(ClusterError):
        kv.session(30)
    assert kv.session(30).alive


def test_closing_ends_sessions_even_if_the_store_is_away(kv: KV, store: InterposedEngine) -> None:
    session = kv.session(30)
    store.break_("lease_revoke", ClusterError("away"))
    kv.close()
    assert not session.alive
    assert not session.lease.alive
