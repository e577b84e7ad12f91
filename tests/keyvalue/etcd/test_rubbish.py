"""Servers that are rubbish: each call ends in time with an error that tells where."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, OutcomeUnknown
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest, WatchRequest
from tests.keyvalue.etcd.servers import Server
from tests.keyvalue.recording import Recording
from tests.waiting import wait_until

Talk = Callable[[socket.socket], None]

TIMEOUT = 0.5


def say_nothing(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def say_garbage(connection: socket.socket) -> None:
    connection.sendall(bytes(range(256)) * 40)
    say_nothing(connection)


def hang_up(connection: socket.socket) -> None:
    connection.close()


def speak_http1(connection: socket.socket) -> None:
    page = b"<html>Hello</html>"
    connection.recv(65536)
    connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page)
    )
    say_nothing(connection)


def stop_after_the_greeting(connection: socket.socket) -> None:
    connection.sendall(b"\0\0\0\4\0\0\0\0\0")  # HTTP/2: settings, none of them changed
    say_nothing(connection)


class Rubbish:
    """A server that takes every connection and does ``talk`` with it."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._connections.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self._talk(connection)

    def stop(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._threads[0].join(10)
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)


@pytest.fixture(params=[say_nothing, say_garbage, hang_up, speak_http1, stop_after_the_greeting])
def rubbish(request: pytest.FixtureRequest) -> Iterator[Rubbish]:
    server = Rubbish(request.param)
    yield server
    server.stop()


def our_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("etcdaero-")}


@pytest.mark.timeout(30)
def test_a_server_that_is_no_etcd_is_told_by_its_endpoint_and_in_time(rubbish: Rubbish) -> None:
    before = our_threads()
    engine = EtcdEngine([rubbish.endpoint], timeout=TIMEOUT)
    kv = KV(engine)
    for read in (
        lambda: engine.range(RangeRequest(b"a")),
        lambda: engine.lease_grant(10),
        lambda: kv.session(10),
        lambda: kv.lock("L").acquire(timeout=TIMEOUT),
    ):
        with pytest.raises((ClusterError, DeadlineExceeded), match=rubbish.endpoint):
            read()
    with pytest.raises((ClusterError, DeadlineExceeded, OutcomeUnknown), match=rubbish.endpoint):
        engine.put(PutRequest(b"a"))
    with pytest.raises((ClusterError, DeadlineExceeded)):
        engine.watch(WatchRequest(b"a"), Recording())
    kv.close()
    engine.close()
    wait_until(lambda: our_threads() <= before, what="the end of all threads")


def test_a_good_member_next_to_rubbish_serves(rubbish: Rubbish, shared_server: Server) -> None:
    engine = EtcdEngine([rubbish.endpoint, shared_server.endpoint])
    for number in range(3):
        engine.range(RangeRequest(b"rubbish-%d" % number))
    engine.close()
