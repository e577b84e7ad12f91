"""Elections of this package and ``etcdctl elect`` are the same elections."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from django_etcdaero.exceptions import DeadlineExceeded
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.queue.holder import Changed, Elected, Lost, Proclaimed
from tests.keyvalue.etcd.servers import PROGRAMS, Server
from tests.waiting import wait_until


@pytest.fixture
def kv(engine: EtcdEngine) -> Iterator[KV]:
    kv = KV(engine)
    yield kv
    kv.close()


class Etcdctl:
    """``etcdctl elect``: as a candidate it prints its key and its value when it leads, as a listener those of each
    leader."""

    def __init__(self, server: Server, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [PROGRAMS / "etcdctl", "--endpoints", server.endpoint, "elect", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def told(self) -> tuple[str, str]:
        """Return the next key and value that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip(), self.process.stdout.readline().strip()

    def end(self) -> None:
        """Let it resign."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait(10)
            assert self.process.stdout is not None
            self.process.stdout.close()


@contextmanager
def etcdctl_elect(server: Server, *arguments: str) -> Iterator[Etcdctl]:
    program = Etcdctl(server, *arguments)
    try:
        yield program
    finally:
        program.end()


def test_etcdctl_observes_our_leaders(kv: KV, shared_server: Server) -> None:
    election = kv.election("interop/observed", value="10.0.0.1:80")
    election.campaign()
    leader = election.leader()
    assert leader is not None
    with etcdctl_elect(shared_server, "--listen", "interop/observed") as listener:
        assert listener.told() == (leader.key.decode(), "10.0.0.1:80")
        election.proclaim("10.0.0.1:81")
        assert listener.told() == (leader.key.decode(), "10.0.0.1:81")
        election.resign()
        election.campaign("10.0.0.1:82")
        assert listener.told()[1] == "10.0.0.1:82"
        election.resign()


def test_etcdctl_follows_our_leader(kv: KV, shared_server: Server) -> None:
    election = kv.election("interop/ours", value="ours")
    election.campaign()
    with etcdctl_elect(shared_server, "interop/ours", "theirs") as other, election.observe() as events:
        wait_until(lambda: len(election.queue()) == 2, what="etcdctl in the line")
        ours, theirs = election.queue()
        assert ours.token == election.token < theirs.token
        assert ours.pid is not None
        assert (theirs.host, theirs.pid) == ("", None)
        assert isinstance(events.next(timeout=10), Elected)
        election.resign()
        assert isinstance(events.next(timeout=10), Lost)
        assert other.told() == (theirs.key.decode(), "theirs")
        event = events.next(timeout=10)
        assert isinstance(event, Changed)
        assert event.leader == election.leader()
        assert event.leader is not None
        assert (event.leader.key, event.leader.value, event.leader.token) == (theirs.key, b"theirs", theirs.token)


def test_we_follow_a_leader_of_etcdctl(kv: KV, shared_server: Server) -> None:
    election = kv.election("interop/theirs", value="ours")
    with etcdctl_elect(shared_server, "interop/theirs", "theirs") as other, election.observe() as events:
        assert other.told()[1] == "theirs"
        with pytest.raises(DeadlineExceeded):
            election.campaign(timeout=0.3)
        leader = election.leader()
        assert leader is not None
        assert leader.value == b"theirs"
        wait_until(lambda: events.next(timeout=10) == Changed(leader), what="the leader")
        kv.put(leader.key, "theirs too", ignore_lease=True)
        assert events.next(timeout=10) == Proclaimed(election.leader())  # type: ignore[arg-type]
    election.campaign(timeout=10)
    assert election.is_leader
    assert len(election.queue()) == 1
    election.resign()
    assert kv.range("interop/theirs", prefix=True).count == 0
