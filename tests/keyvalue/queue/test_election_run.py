"""Leading again and again, with the work that only a leader does."""

from __future__ import annotations

import threading

import pytest

from django_etcdaero.exceptions import ClusterError, NotLeader
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.queue.election import Leadership
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.queue.queueing import in_thread, keys
from tests.waiting import wait_until


def take_key_away(kv: KV) -> None:
    kv.delete_range("E/", prefix=True)


def test_work_that_is_done_ends_the_leading(kv: KV) -> None:
    tokens: list[int] = []

    def work(leadership: Leadership) -> str:
        leadership.check()
        tokens.append(leadership.token)
        assert kv.txn().when(leadership.compare()).commit().succeeded
        leadership.proclaim("at work")
        assert not leadership.wait(0.01)
        return "done"

    election = kv.election("E")
    assert election.run(work) == "done"
    assert len(tokens) == 1
    assert keys(kv) == []


def test_after_a_loss_the_leader_campaigns_again(kv: KV) -> None:
    tokens: list[int] = []

    def work(leadership: Leadership) -> str:
        tokens.append(leadership.token)
        if len(tokens) == 3:
            return "done"
        take_key_away(kv)
        assert leadership.wait(10)
        assert leadership.lost
        if len(tokens) == 1:
            leadership.check()
        return "late"

    assert kv.election("E").run(work) == "done"
    assert len(set(tokens)) == 3
    assert tokens == sorted(tokens)


def test_a_leader_can_be_stopped_while_it_leads_and_while_it_waits(kv: KV, other: KV) -> None:
    stop = threading.Event()
    results: list[object] = []
    leading = threading.Event()

    def work(leadership: Leadership) -> str:
        leading.set()
        leadership.wait(30)
        return "stopped"

    threads = [in_thread(lambda: results.append(kv.election("E").run(work, stop=stop)))]
    assert leading.wait(10)
    election = other.election("E")
    threads.append(in_thread(lambda: results.append(election.run(work, stop=stop))))
    wait_until(lambda: len(election.queue()) == 2, what="the second candidate")
    stop.set()
    for thread in threads:
        thread.join(10)
    # The second may have been elected in the moment of the end.
    assert sorted(map(str, results)) in (["None", "stopped"], ["stopped", "stopped"])
    assert keys(other) == []
    assert election.run(work, stop=stop) is None


def test_an_error_of_the_work_ends_the_leading(kv: KV) -> None:
    def fail(leadership: Leadership) -> None:
        raise ZeroDivisionError

    def refuse(leadership: Leadership) -> None:
        raise NotLeader("of something else")

    election = kv.election("E")
    with pytest.raises(ZeroDivisionError):
        election.run(fail)
    with pytest.raises(NotLeader):
        election.run(refuse)
    assert not election.is_leader
    assert keys(kv) == []


def test_while_the_store_is_away_it_is_tried_again(kv: KV, store: InterposedEngine) -> None:
    kv.session(10)
    store.fail("txn", ClusterError("away"), times=3)
    assert kv.election("E").run(lambda leadership: leadership.token)
