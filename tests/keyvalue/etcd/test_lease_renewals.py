"""Many renewals on one stream of a server: slow ones, frozen ones, and some that break off half-way."""

from __future__ import annotations

import contextlib
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from django_etcdaero.exceptions import ClusterError, DeadlineExceeded
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.client.lease import clock
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.etcd.messages.classes import rpc
from django_etcdaero.keyvalue.values import Renewal
from tests.keyvalue.etcd.counters import total
from tests.keyvalue.etcd.pretending import pretending, until_it_ends
from tests.keyvalue.etcd.servers import Cluster, Server
from tests.waiting import wait_until

Connect = Callable[..., EtcdEngine]
KeepAlive = Callable[[Iterator[Any], Any], Iterator[Any]]


class FarAway:
    """A way to a server on which everything takes ``delay`` seconds, in each direction."""

    def __init__(self, server: Server, delay: float) -> None:
        self._port = server.client_port
        self._delay = delay
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._sockets = [self._listening]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, run: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=run, args=arguments))
        self._threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._sockets += [near, far]
                for source, target in ((near, far), (far, near)):
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    under_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
                    self._start(self._take, source, under_way)
                    self._start(self._deliver, target, under_way)

    def _take(self, source: socket.socket, under_way: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        data = b"..."
        while data:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            under_way.put((time.monotonic() + self._delay, data))

    def _deliver(self, target: socket.socket, under_way: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        with contextlib.suppress(OSError):
            while True:
                at, data = under_way.get()
                time.sleep(max(0.0, at - time.monotonic()))
                if not data:
                    target.shutdown(socket.SHUT_RDWR)
                    return
                target.sendall(data)

    def stop(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for each in self._sockets:
            each.close()


@pytest.fixture
def far_away(shared_server: Server) -> Iterator[FarAway]:
    way = FarAway(shared_server, 0.025)
    yield way
    way.stop()


@pytest.fixture
def pretend() -> Iterator[Callable[[KeepAlive], str]]:
    """Start servers that only renew, each in its own manner, and can log anybody in; return where they listen."""
    with ExitStack() as servers:

        def start(keep_alive: KeepAlive) -> str:
            methods = {
                "Lease/LeaseKeepAlive": grpc.stream_stream_rpc_method_handler(
                    keep_alive, rpc.LeaseKeepAliveRequest.FromString, rpc.LeaseKeepAliveResponse.SerializeToString
                ),
                "Auth/Authenticate": grpc.unary_unary_rpc_method_handler(
                    lambda request, context: rpc.AuthenticateResponse(token="fresh"),
                    rpc.AuthenticateRequest.FromString,
                    rpc.AuthenticateResponse.SerializeToString,
                ),
            }
            return servers.enter_context(pretending(methods))

        yield start


def answer(request: Any, ttl: int = 60) -> Any:
    return rpc.LeaseKeepAliveResponse(ID=request.ID, TTL=ttl)


def begin_with(endpoint: str, endpoints: list[str], connect: Connect) -> EtcdEngine:
    """Return an engine that uses ``endpoint`` first: each begins with a random one."""
    made: list[EtcdEngine] = []

    def found() -> bool:
        made.append(connect(endpoints))
        return made[-1].endpoint == endpoint

    wait_until(found, what="an engine that begins there")
    return made[-1]


def renew(engine: EtcdEngine, ids: list[int], *, timeout: float) -> tuple[dict[int, int], Exception | None]:
    """Return the answers, and the error if there was one."""
    told: list[Renewal] = []
    error: Exception | None = None
    try:
        engine.lease_keep_alive_many(ids, told.append, timeout=timeout)
    except (ClusterError, DeadlineExceeded) as caught:
        error = caught
    answers = {renewal.id: renewal.ttl for renewal in told}
    assert len(answers) == len(told)
    return answers, error


def test_all_renewals_go_over_one_stream(engine: EtcdEngine, shared_server: Server) -> None:
    ids = [engine.lease_grant(60).id for _ in range(300)]
    labels = {"grpc_service": "etcdserverpb.Lease", "grpc_method": "LeaseKeepAlive"}
    streams = total(shared_server, "grpc_server_started_total", **labels)
    requests = total(shared_server, "grpc_server_msg_received_total", **labels)
    assert renew(engine, ids, timeout=30) == (dict.fromkeys(ids, 60), None)
    assert total(shared_server, "grpc_server_started_total", **labels) == streams + 1
    assert total(shared_server, "grpc_server_msg_received_total", **labels) == requests + 300


def test_more_leases_are_kept_than_there_are_round_trips_in_their_time(far_away: FarAway, connect: Connect) -> None:
    kv = KV(connect([far_away.endpoint]), prefix="far-away/")
    with ThreadPoolExecutor(20) as threads:
        leases = list(threads.map(lambda _: kv.lease(3), range(300)))
    last = max(lease.deadline for lease in leases)
    wait_until(lambda: clock() > last + 1, what="the time of all first grants")
    assert [lease for lease in leases if lease.lost] == []
    kv.close()


def test_each_answer_counts_from_its_own_request(connect: Connect, pretend: Callable[[KeepAlive], str]) -> None:
    def one_at_a_time(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for request in requests:
            asked.append(request.ID)
            yield answer(request)

    asked: list[int] = []
    engine = connect([pretend(one_at_a_time)])
    told: list[Renewal] = []
    times = iter(range(1000))
    engine.lease_keep_alive_many([3, 1, 2], told.append, clock=lambda: float(next(times)))
    assert told == [Renewal(3, 60, 0.0), Renewal(1, 60, 1.0), Renewal(2, 60, 2.0)]
    assert asked == [3, 1, 2]


@pytest.mark.parametrize("silent", [1, 5, 20])
def test_a_lease_that_the_server_stops_at_holds_up_no_other(
    connect: Connect, pretend: Callable[[KeepAlive], str], silent: int
) -> None:
    def stop_at_one(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for request in requests:
            if silent == request.ID:
                until_it_ends(context)
                return
            yield answer(request)

    engine = connect([pretend(stop_at_one)])
    ids = list(range(1, 21))
    answers, error = renew(engine, ids, timeout=3)
    assert answers == {number: 60 for number in ids if number != silent}
    assert isinstance(error, DeadlineExceeded)


def test_a_slow_member_that_gives_answers_is_not_given_up(
    connect: Connect, pretend: Callable[[KeepAlive], str], shared_server: Server
) -> None:
    def two_at_a_time(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for _, request in zip(range(2), requests, strict=False):
            yield answer(request)
        context.abort(grpc.StatusCode.UNKNOWN, "context deadline exceeded")  # as a follower says when time is over

    endpoint = pretend(two_at_a_time)
    engine = begin_with(endpoint, [endpoint, shared_server.endpoint], connect)
    ids = list(range(1, 11))
    assert renew(engine, ids, timeout=30) == (dict.fromkeys(ids, 60), None)
    assert engine.endpoint == endpoint


def test_a_lease_that_the_server_forgets_to_answer_is_no_loss_for_the_others(
    connect: Connect, pretend: Callable[[KeepAlive], str]
) -> None:
    def skip_one(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        return (answer(request) for request in requests if request.ID != 5)

    answers, error = renew(connect([pretend(skip_one)]), list(range(1, 21)), timeout=1)
    assert answers == {number: 60 for number in range(1, 21) if number != 5}
    assert error is not None


@pytest.mark.timeout(30)
@pytest.mark.parametrize("count", [2, 20])
def test_a_server_that_answers_nothing_and_says_that_it_is_done_is_an_error(
    connect: Connect, pretend: Callable[[KeepAlive], str], count: int
) -> None:
    answers, error = renew(connect([pretend(lambda requests, context: iter(()))]), list(range(count)), timeout=60)
    assert answers == {}
    assert isinstance(error, ClusterError)


@pytest.mark.timeout(30)
def test_nobody_waits_for_a_stream_to_end_that_has_given_all_answers(
    connect: Connect, pretend: Callable[[KeepAlive], str]
) -> None:
    def go_on(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        yield from map(answer, requests)
        until_it_ends(context)

    assert renew(connect([pretend(go_on)]), [1, 2, 3], timeout=100) == ({1: 60, 2: 60, 3: 60}, None)


def test_when_a_stream_breaks_its_answers_count_and_another_member_is_asked_for_the_rest(
    connect: Connect, pretend: Callable[[KeepAlive], str], shared_server: Server
) -> None:
    def break_off(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for _, request in zip(range(3), requests, strict=False):
            yield answer(request, 99)
        context.abort(grpc.StatusCode.UNAVAILABLE, "transport is closing")

    endpoint = pretend(break_off)
    granting = connect([shared_server.endpoint])
    ids = [granting.lease_grant(60).id for _ in range(10)]
    engine = begin_with(endpoint, [endpoint, shared_server.endpoint], connect)
    assert renew(engine, ids, timeout=10) == (dict.fromkeys(ids[:3], 99) | dict.fromkeys(ids[3:], 60), None)
    assert engine.endpoint == shared_server.endpoint


def test_a_token_that_is_not_accepted_is_replaced(connect: Connect, pretend: Callable[[KeepAlive], str]) -> None:
    def ask_for_a_new_one_once(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        tokens.append(dict(context.invocation_metadata())["token"])
        if len(tokens) == 1:
            yield answer(next(requests))
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "etcdserver: invalid auth token")
        yield from map(answer, requests)

    tokens: list[str] = []
    engine = connect([pretend(ask_for_a_new_one_once)], user="me", password="secret")
    assert renew(engine, [1, 2, 3], timeout=10) == ({1: 60, 2: 60, 3: 60}, None)
    assert tokens == ["fresh", "fresh"]


@pytest.mark.parametrize("victim", ["leader", "follower"])
def test_leases_are_renewed_through_followers_and_when_a_member_is_killed(
    cluster: Cluster, connect: Connect, victim: str
) -> None:
    leader = cluster.leader()
    member = leader if victim == "leader" else next(each for each in cluster.members if each is not leader)
    engines = [connect([each.endpoint]) for each in cluster.members]
    ids = [engines[0].lease_grant(60).id for _ in range(50)]
    for engine in engines:
        assert renew(engine, ids, timeout=20) == (dict.fromkeys(ids, 60), None)
    engines = [connect(cluster.endpoints) for _ in range(3)]
    member.kill()
    for engine in engines:
        assert renew(engine, ids, timeout=20) == (dict.fromkeys(ids, 60), None)


def test_renewals_under_way_survive_forks(shared_server: Server) -> None:
    program = [
        sys.executable,
        "-W",
        "ignore::DeprecationWarning",
        "-m",
        "tests.programs.renewing_forking",
        shared_server.endpoint,
    ]
    ended = subprocess.run([*program, shared_server.endpoint], capture_output=True, text=True, timeout=120, check=False)
    assert ended.stdout == "renewed\n", ended.stderr
