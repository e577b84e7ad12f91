"""What kvstore promises of elections."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue import KV, Engine
from django_etcdaero.keyvalue.queue.election import Election
from django_etcdaero.keyvalue.queue.holder import Changed, Elected, Lost
from tests.keyvalue.conftest import ETCD
from tests.keyvalue.queue.contending import Contending
from tests.seeds.books import TIMEOUT
from tests.waiting import wait_until

Connect = Callable[[], KV]


@pytest.fixture
def campaigning() -> Iterator[Callable[[KV, str, str], Election]]:
    """Start a candidate that campaigns, in a thread, and again whenever it has lost."""
    stops: list[threading.Event] = []
    threads: list[threading.Thread] = []

    def start(kv: KV, name: str, value: str) -> Election:
        election = kv.election(name, ttl=5, value=value)
        stop = threading.Event()
        thread = threading.Thread(
            target=lambda: election.run(lambda leadership: leadership.wait(60), stop=stop), daemon=True
        )
        thread.start()
        stops.append(stop)
        threads.append(thread)
        return election

    yield start
    for stop in stops:
        stop.set()
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def leads(*elections: Election) -> list[Election]:
    return [election for election in elections if election.is_leader]


# --- elections -------------------------------------------------------------------------------------------------------


def test_election(connect: Connect, campaigning: Callable[[KV, str, str], Election]) -> None:
    """Election: exactly one is elected, the others see him; when he ends exactly one other is. A newcomer unseats
    nobody. A time to live that is too short is refused (here: less than a second; the store grants at least two)."""
    clients = [connect() for _ in range(3)]
    with pytest.raises(InvalidRequest):
        clients[0].election("master", ttl=0)
    first = clients[0].election("master", ttl=5, value="id-0")
    first.campaign(timeout=TIMEOUT)
    others = [campaigning(client, "master", f"id-{number}") for number, client in enumerate(clients[1:], 1)]
    wait_until(lambda: len(first.queue()) == 3, what="all candidates in line")
    assert leads(first, *others) == [first]
    for election in (first, *others):
        leader = election.leader()
        assert leader is not None
        assert leader.value == b"id-0"
    with others[0].observe() as events:
        told = events.next(timeout=TIMEOUT)
        assert isinstance(told, Changed)
        assert told.leader is not None
        assert told.leader.value == b"id-0"
    first.resign()
    wait_until(lambda: leads(*others), what="the next leader")
    assert len(leads(first, *others)) == 1
    (second,) = leads(*others)
    newcomer = campaigning(connect(), "master", "id-3")
    wait_until(lambda: len(second.queue()) == 3, what="the newcomer in line")
    assert leads(first, *others, newcomer) == [second]


def test_election_restart_contender_that_is_orphaned_loses(kv: KV, connect: Connect) -> None:
    """ElectionRestartContender, second half: a leader whose lease is not renewed any more is told that it lost."""
    election = kv.election("master", ttl=5, value="id-0")
    election.campaign(timeout=TIMEOUT)
    leader = election.leader()
    assert leader is not None
    with election.observe() as events:
        assert isinstance(events.next(timeout=TIMEOUT), Elected)
        kv.engine.lease_revoke(leader.lease)
        assert isinstance(events.next(timeout=TIMEOUT), Lost)
    assert not election.is_leader


@pytest.mark.parametrize("engine", ["sqlite", ETCD], indirect=True)
def test_election_restart_contender(engine: Engine, request: pytest.FixtureRequest) -> None:
    """ElectionRestartContender: a process that is started again under the same id leads on.

    Not in ``mem:``, which ends with its process. And not while its predecessor is alive: two processes under one id
    never lead both.
    """
    if engine.info.kind == "etcd":
        store = request.getfixturevalue("shared_server").endpoint
    else:
        store = engine.info.location.removeprefix("sqlite://")
    first = Contending(store, "election", "restart", ttl=30, value="id-0")
    token = first.won()
    kv = KV(engine)
    other = kv.election("restart", ttl=30, value="id-1")
    in_line = threading.Thread(target=other.campaign, kwargs={"timeout": 60}, daemon=True)
    in_line.start()
    wait_until(lambda: len(other.queue()) == 2, what="the other in line")
    first.process.kill()
    first.process.wait(TIMEOUT)
    with first.process:
        pass
    again = kv.election("restart", ttl=30, value="id-0")
    again.campaign(timeout=TIMEOUT)
    assert again.token == token
    assert not other.is_leader
    again.resign()
    in_line.join(TIMEOUT)
    assert other.is_leader
    other.resign()
    kv.close()


def test_cancel_election(connect: Connect, campaigning: Callable[[KV, str, str], Election]) -> None:
    """CancelElection: who gives up leaves nothing behind, and the next one leads at once."""
    first = connect().election("master", ttl=60, value="id-0")
    first.campaign(timeout=TIMEOUT)
    second = campaigning(connect(), "master", "id-1")
    wait_until(lambda: len(first.queue()) == 2, what="the second in line")
    first.resign()
    wait_until(lambda: second.is_leader, what="the hand-over")
    assert [each.value for each in (second.leader(),) if each is not None] == [b"id-1"]
    assert len(second.queue()) == 1


# --- several objects -------------------------------------------------------------------------------------------------


def test_multiple_election(connect: Connect) -> None:
    """MultipleElection: elections do not touch each other, not even when one's name begins with the other's."""
    elections = [connect().election(name, ttl=5, value=name) for name in ("master", "master2", "master/sub")]
    for election in elections:
        election.campaign(timeout=TIMEOUT)
    assert leads(*elections) == elections
    elections[0].resign()
    assert leads(*elections) == elections[1:]
    for election in elections[1:]:
        leader = election.leader()
        assert leader is not None
        assert leader.value == election.name
        election.resign()
