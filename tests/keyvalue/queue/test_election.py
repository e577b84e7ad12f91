from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from django_etcdaero.exceptions import (
    Cancelled,
    ClusterError,
    DeadlineExceeded,
    InvalidRequest,
    NotLeader,
    OutcomeUnknown,
)
from django_etcdaero.keyvalue import KV, txn
from django_etcdaero.keyvalue.queue.election import Election
from django_etcdaero.keyvalue.queue.leader import Changed, Elected, ElectionEvent, Leader, Lost, Proclaimed
from django_etcdaero.keyvalue.queue.leading import Leadership
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.queue.queueing import Queued, in_thread, keys
from tests.waiting import wait_until


@pytest.fixture
def other(store: InterposedEngine, kv: KV) -> Iterator[KV]:
    """A client of its own session, as another process has."""
    client = KV(store.inner, prefix=kv.prefix)
    yield client
    client.close()


class Candidate(Queued):
    """Campaigns in a thread of its own; ``result`` is the error or ``"elected"``."""

    def __init__(self, election: Election, timeout: float | None = 30) -> None:
        self.election = election
        super().__init__(election, lambda: election.campaign(timeout=timeout), "elected")


# --- leading ---------------------------------------------------------------------------------------------------------


def test_one_leads_and_the_others_follow_in_turn(kv: KV, other: KV) -> None:
    first = kv.election("E", value="one")
    first.campaign()
    second, third = (Candidate(client.election("E", value=name)) for client, name in ((other, "two"), (kv, "three")))
    assert first.is_leader
    assert not second.election.is_leader
    tokens = [first.token]
    for successor in (second, third):
        leader = first.leader()
        assert leader is not None
        assert (leader.token, leader.revision) == (tokens[-1], tokens[-1])
        (first if successor is second else second.election).resign()
        assert successor.wait() == "elected"
        tokens.append(successor.election.token)
    assert tokens == sorted(set(tokens))
    last = kv.election("E").leader()
    assert last is not None
    assert last.value == b"three"
    third.election.resign()
    assert kv.election("E").leader() is None
    assert keys(kv) == []


def test_the_key_layout_is_that_of_etcds_own_clients(kv: KV) -> None:
    election = kv.election("E", value="mine")
    election.campaign()
    lease = kv.session(10).lease.id
    (found,) = kv.range("E/", prefix=True).kvs
    assert found == (f"E/{lease:x}".encode(), b"mine", election.token, election.token, 1, lease)
    assert election.leader() == Leader(found.key, b"mine", election.token, election.token, lease)
    election.resign()


def test_a_candidate_of_another_client_leads_and_follows(kv: KV) -> None:
    lease = kv.lease(60)
    foreign = f"E/{lease.id:x}"
    token = kv.put(foreign, "theirs", lease=lease).revision
    election = kv.election("E", value="ours")
    leader = election.leader()
    assert leader == Leader(foreign.encode(), b"theirs", token, token, lease.id)
    holder = election.holder()
    assert holder is not None
    assert (holder.key, holder.host, holder.pid) == (foreign.encode(), "", None)
    candidate = Candidate(election)
    lease.revoke()
    assert candidate.wait() == "elected"
    election.resign()


def test_a_free_leadership_costs_one_transaction_and_giving_it_up_another(kv: KV, store: InterposedEngine) -> None:
    kv.session(10)
    store.calls.clear()
    election = kv.election("E")
    election.campaign()
    election.resign()
    assert store.calls["txn"] == 2
    assert store.calls["range"] == 0


def test_without_a_value_of_its_own_a_candidate_introduces_itself(kv: KV) -> None:
    election = kv.election("E")
    election.campaign()
    leader = election.leader()
    assert leader is not None
    told = json.loads(leader.value)
    assert told.keys() == {"host", "pid", "since", "service"}
    election.resign()


def test_holder_and_queue_tell_who_and_since_when_whatever_is_announced(kv: KV, other: KV) -> None:
    election = kv.election("E", value="10.0.0.1:80")
    assert election.holder() is None
    assert election.queue() == ()
    election.campaign()
    candidate = Candidate(other.election("E", value="10.0.0.2:80"))
    election.proclaim("10.0.0.1:81")
    first, second = election.queue()
    assert first == election.holder()
    assert first.token == election.token < second.token
    assert (first.identity, second.identity) == ({"service": "web"}, {})
    for holder in (first, second):
        assert holder.pid is not None
        assert holder.host
        assert holder.since is not None
        assert abs(datetime.now(UTC) - holder.since) < timedelta(minutes=1)
    election.resign()
    candidate.wait()
    candidate.election.resign()
    assert keys(kv) == []


def test_elections_do_not_disturb_each_other(kv: KV) -> None:
    names = ["a/b", "a", "a/b/c", "ab", "a:contenders"]
    elections = [kv.election(name, value=name) for name in names]
    for election in elections[:-1]:
        election.campaign(timeout=0)
    for name, election in zip(names[:-1], elections[:-1], strict=True):
        leader = kv.election(name).leader()
        assert leader is not None
        assert (leader.token, leader.value) == (election.token, name.encode())
        assert len(election.queue()) == 1
    for election in elections[:-1]:
        election.resign()
    assert keys(kv) == []


def test_views_of_one_client_meet_in_one_election(kv: KV) -> None:
    election = kv.election("sub/E")
    election.campaign()
    with pytest.raises(DeadlineExceeded):
        kv.namespace("sub/").election("E").campaign(timeout=0)
    with pytest.raises(DeadlineExceeded):
        kv.namespace("sub/").election("E").campaign(timeout=0.2)
    assert len(election.queue()) == 1
    election.resign()


def test_a_campaign_has_an_end(kv: KV, other: KV) -> None:
    other.election("E").campaign()
    before = keys(kv)
    for timeout in (0, 0.01, 0.3):
        with pytest.raises(DeadlineExceeded):
            kv.election("E").campaign(timeout=timeout)
    # Of an entry that was not answered in time it is not known whether it is there: it is removed a moment later.
    wait_until(lambda: keys(kv) == before, what="the end of the other candidates")


def test_one_object_is_one_candidate(kv: KV) -> None:
    election = kv.election("E")
    for _ in range(2):
        election.campaign()
        with pytest.raises(InvalidRequest, match="already"):
            election.campaign()
        election.resign()
    election.resign()


@pytest.mark.parametrize("arguments", [{"name": ""}, {"name": 7}, {"name": "E", "ttl": 0}, {"name": "E", "value": 7}])
def test_bad_arguments_are_refused(kv: KV, arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        kv.election(**arguments)  # type: ignore[arg-type]


def test_only_the_leader_has_a_token(kv: KV) -> None:
    election = kv.election("E")
    for call in (lambda: election.token, election.compare, lambda: election.proclaim("x")):
        with pytest.raises(NotLeader, match="'E' is not led"):
            call()


# --- announcing ------------------------------------------------------------------------------------------------------


def test_a_leader_announces_other_values(kv: KV) -> None:
    election = kv.election("E", value="a")
    election.campaign("b")
    leader = election.leader()
    assert leader is not None
    assert leader.value == b"b"
    election.proclaim("c")
    told = election.leader()
    assert told is not None
    assert (told.key, told.value, told.token) == (leader.key, b"c", leader.token)
    assert told.revision > told.token
    assert election.is_leader
    election.resign()
    election.campaign()
    again = election.leader()
    assert again is not None
    assert again.value == b"a"
    election.resign()


def test_a_deposed_leader_announces_nothing(kv: KV) -> None:
    election = kv.election("E", value="old")
    election.campaign()
    key = f"E/{kv.session(10).lease.id:x}"
    kv.delete(key)
    kv.put(key, "somebody else's")
    with pytest.raises(NotLeader):
        election.proclaim("new")
    assert not election.is_leader
    assert election.lost
    found = kv.get(key)
    assert found is not None
    assert found.value == b"somebody else's"
    election.resign()
    assert kv.get(key) is not None


def test_a_leader_whose_key_became_data_leads_no_more(kv: KV, other: KV) -> None:
    leader = other.election("E", value="theirs")
    leader.campaign()
    with kv.election("E").observe() as changes:
        first = changes.next(timeout=10)
        assert isinstance(first, Changed)
        assert first.leader is not None
        kv.put(first.leader.key, "data")
        assert changes.next(timeout=10) == Changed(None)
    assert kv.election("E").leader() is None
    wait_until(lambda: leader.lost, what="the loss")


def test_an_announcement_of_unknown_outcome_is_repeated(kv: KV, store: InterposedEngine) -> None:
    election = kv.election("E")
    election.campaign()
    store.fail("txn", OutcomeUnknown("answer lost"), applied=True)
    store.fail("txn", OutcomeUnknown("answer lost"))
    election.proclaim("x")
    leader = election.leader()
    assert leader is not None
    assert leader.value == b"x"
    store.fail("txn", OutcomeUnknown("answer lost"), times=3)
    with pytest.raises(OutcomeUnknown):
        election.proclaim("y")
    assert election.is_leader
    election.resign()


# --- losing it -------------------------------------------------------------------------------------------------------


def take_key_away(kv: KV) -> None:
    kv.delete_range("E/", prefix=True)


def revoke_lease(kv: KV) -> None:
    kv.engine.lease_revoke(kv.session(10).lease.id)


def move_key_to_another_lease(kv: KV) -> None:
    (found,) = kv.range("E/", prefix=True).kvs
    kv.put(found.key, found.value, lease=kv.lease(60))


@pytest.mark.parametrize("lose", [take_key_away, revoke_lease, move_key_to_another_lease])
def test_a_lost_leadership_is_reported_everywhere(kv: KV, lose: Callable[[KV], None]) -> None:
    election = kv.election("E", value="x")
    told: list[Election] = []
    election.on_lost(told.append)
    election.campaign()
    with election.observe() as events:
        assert isinstance(events.next(timeout=10), Elected)
        lose(kv)
        wait_until(lambda: told == [election], what="the report of the loss")
        assert isinstance(events.next(timeout=10), Lost)
    assert not election.is_leader
    assert election.lost
    with pytest.raises(NotLeader):
        election.proclaim("y")
    election.resign()


def test_a_guarded_transaction_fails_after_the_loss(kv: KV) -> None:
    election = kv.election("E")
    election.campaign()
    guarded = kv.txn().when(election.compare()).then(txn.put("x", "1"))
    assert guarded.commit().succeeded
    take_key_away(kv)
    assert not guarded.commit().succeeded
    election.resign()


def test_a_candidate_whose_key_is_removed_is_told_at_once(kv: KV, other: KV) -> None:
    leader = other.election("E")
    leader.campaign()
    candidate = Candidate(kv.election("E"))
    kv.delete(leader.queue()[1].key)
    assert isinstance(candidate.wait(), NotLeader)
    leader.resign()


def test_closing_the_client_hands_over_at_once(kv: KV, other: KV) -> None:
    with closing(KV(kv.engine, prefix=kv.prefix)) as third:
        third.election("E").campaign()
        successor = Candidate(kv.election("E"))
    assert successor.wait() == "elected"
    successor.election.resign()
    assert keys(other) == []


def test_a_resignation_that_fails_is_carried_on_in_the_background(kv: KV, store: InterposedEngine) -> None:
    election = kv.election("E")
    election.campaign()
    store.fail("txn", ClusterError("away"), times=4)
    election.resign()
    wait_until(lambda: keys(kv) == [], what="the end of the keys")


# --- observing -------------------------------------------------------------------------------------------------------


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
    with pytest.raises(Cancelled):
        kv.election("E").observe()


# --- leading again and again -----------------------------------------------------------------------------------------


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
        assert leadership.lost.is_set()
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
