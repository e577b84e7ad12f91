"""Observers are told how things are and what changes, each once."""

from __future__ import annotations

import pytest

from django_etcdaero.exceptions import Cancelled, ClusterError, DeadlineExceeded
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.queue.holder import Changed, Elected, ElectionEvent, Leader, Lost, Proclaimed
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.queue.queueing import Candidate, in_thread
from tests.waiting import wait_until


def test_an_observer_is_told_first_how_things_are(kv: KV, other: KV) -> None:
    with kv.election("E").observe() as events:
        assert events.next(timeout=10) == Changed(None)
    election = other.election("E", value="a")
    election.campaign()
    with kv.election("E").observe() as events:
        assert events.next(timeout=10) == Changed(election.leader())
    with election.observe() as events:
        assert events.next(timeout=10) == Elected(election.leader())  # type: ignore[arg-type]
    election.resign()


def test_each_change_is_told_once(kv: KV, other: KV) -> None:
    mine, theirs = kv.election("E", value="mine"), other.election("E", value="theirs")

    def next_event() -> ElectionEvent:
        return events.next(timeout=10)

    with mine.observe() as events:
        assert next_event() == Changed(None)
        mine.campaign()
        me = mine.leader()
        assert me is not None
        assert next_event() == Elected(me)
        candidate = Candidate(theirs)
        mine.proclaim("mine too")
        now = mine.leader()
        assert now is not None
        assert next_event() == Proclaimed(now)
        mine.resign()
        assert next_event() == Lost(now)
        candidate.wait()
        they = theirs.leader()
        assert they is not None
        assert next_event() == Changed(they)
        theirs.proclaim("theirs still")
        assert next_event() == Proclaimed(theirs.leader())  # type: ignore[arg-type]
        theirs.resign()
        assert next_event() == Changed(None)
        with pytest.raises(DeadlineExceeded):
            events.next(timeout=0.05)
    with pytest.raises(Cancelled):
        events.next()
    assert list(events) == []


def test_the_coming_and_going_of_others_in_line_wakes_no_observer(kv: KV, other: KV, store: InterposedEngine) -> None:
    leader = other.election("E", value="a")
    leader.campaign()
    with kv.election("E").observe() as events:
        events.next(timeout=10)
        wait_until(lambda: store.running, what="the watch")
        for _ in range(3):
            lease = other.lease(60)
            other.put(f"E/{lease.id:x}", "b", lease=lease)
            lease.revoke()
        leader.proclaim("c")
        assert events.next(timeout=10) == Proclaimed(leader.leader())  # type: ignore[arg-type]
        assert store.delivered == 1
    leader.resign()


def test_events_can_be_taken_by_a_callback(kv: KV, other: KV) -> None:
    election = other.election("E", value="a")
    told: list[ElectionEvent] = []

    def tell(event: ElectionEvent) -> None:
        told.append(event)
        raise ZeroDivisionError

    observation = kv.election("E").observe(callback=tell)
    wait_until(lambda: told == [Changed(None)], what="the first event")
    election.campaign()
    leader = election.leader()
    wait_until(lambda: told[1:] == [Changed(leader)], what="the second event")
    observation.cancel()
    election.resign()
    assert len(told) == 2


def test_a_slow_observer_gets_the_newest_value(kv: KV, other: KV) -> None:
    election = other.election("E", value="0")
    election.campaign()
    with kv.election("E").observe() as events:
        events.next(timeout=10)
        for number in range(1, 50):
            election.proclaim(str(number))
        seen: list[Leader | None] = []
        while not seen or seen[-1] != election.leader():
            seen.append(events.next(timeout=10).leader)
    assert len(seen) < 50
    election.resign()


def test_an_observation_outlasts_errors_of_the_store_and_compaction(kv: KV, other: KV, store: InterposedEngine) -> None:
    store.fail("range", ClusterError("away"), times=2)
    store.fail("watch", ClusterError("away"), times=2)
    election = other.election("E", value="a")
    with kv.election("E").observe() as events:
        assert events.next(timeout=10) == Changed(None)
        kv.compact(kv.put("x", "y").revision)
        election.campaign()
        assert events.next(timeout=10) == Changed(election.leader())
    election.resign()


def test_a_forgotten_observation_ends_by_itself(kv: KV, other: KV, store: InterposedEngine) -> None:
    leader = other.election("E", value="a")
    leader.campaign()
    kv.election("E").observe().next(timeout=10)
    wait_until(lambda: store.running, what="the watch")
    leader.proclaim("b")
    wait_until(lambda: not store.running, what="the end of the watch")
    leader.resign()


def test_closing_the_client_ends_observations(kv: KV) -> None:
    observation = kv.election("E").observe()
    seen: list[object] = []

    def consume() -> None:
        for event in observation:
            seen.append(event)  # noqa: PERF402 - each as it comes
        seen.append("ended")

    thread = in_thread(consume)
    wait_until(lambda: seen, what="the first event")
    kv.close()
    thread.join(10)
    assert seen == [Changed(None), "ended"]
    assert observation.closed
    with pytest.raises(Cancelled):
        kv.election("E").observe()
