"""Elections: who leads, and what a leader announces."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from django_etcdaero.exceptions import DeadlineExceeded, InvalidRequest, NotLeader, OutcomeUnknown
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.queue.holder import Changed, Leader
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.queue.queueing import Candidate, keys
from tests.waiting import wait_until

# --- leading ---------------------------------------------------------------------------------------------------------


def test_one_leads_and_the_others_follow_in_turn(kv: KV, other: KV) -> None:
    first = kv.election("E", value="one")
    assert first.campaign(), "as with a lock: if election.campaign(timeout=1): …"
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
