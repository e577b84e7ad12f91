"""The server: a listening socket, and a thread for each connection."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import Self

from tests.records.aerospike.standin import batch, frames, info, operations, scan
from tests.records.aerospike.standin.clock import Clock
from tests.records.aerospike.standin.faults import Faults
from tests.records.aerospike.standin.records import Namespace
from tests.records.aerospike.standin.security import NOT_AUTHENTICATED, Security

ENTERPRISE_ONLY = 25


class Standin:
    """A running stand-in; :meth:`stop` ends it. It listens on 127.0.0.1 only.

    ``users``: see :class:`.security.Security`; ``tls``: how to encrypt the connections, if they are to be.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        namespace: str = "test",
        *,
        port: int = 0,
        nsup_period: int = 120,
        users: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.clock = Clock()
        self.security = Security(users or {})
        self._tls = tls
        self.faults = Faults()
        self.namespace = Namespace(namespace, self.clock, nsup_period=nsup_period)
        self._listener = socket.create_server((self.host, port), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._connections: set[socket.socket] = set()
        self._stopping = False
        self._threads = [threading.Thread(target=self._accept, name="standin-accept", daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close everything and wait for all threads."""
        self._stopping = True
        with contextlib.suppress(OSError):  # wakes the thread that accepts
            socket.create_connection((self.host, self.port), timeout=5).close()
        self._threads[0].join(5)
        self._listener.close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._stopping:
                connection.close()
                return
            self._connections.add(connection)
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            self._threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with self._encrypted(connection) as channel:
                trusted = not self.security.users
                while not self._stopping:
                    kind, body = frames.read_frame(channel)
                    if kind == frames.SECURITY:
                        trusted, answer = self.security.answer(body)
                        channel.sendall(frames.frame(frames.SECURITY, answer))
                        continue
                    for frame in self._answer(kind, body) if trusted else self._refuse(kind):
                        channel.sendall(frame)
        except (frames.Closed, OSError):
            pass
        finally:
            self._connections.discard(connection)
            connection.close()

    def _encrypted(self, connection: socket.socket) -> socket.socket:
        if self._tls is None:
            return connection
        # A descriptor of its own, so that stop() can still shut the connection down.
        return self._tls.wrap_socket(connection.dup(), server_side=True)

    def _refuse(self, kind: int) -> Iterator[bytes]:
        if kind == frames.INFO:
            yield frames.frame(frames.INFO, f"ERROR:{NOT_AUTHENTICATED}:not authenticated\n".encode())
        else:
            yield frames.frame(frames.RECORD, frames.message(NOT_AUTHENTICATED))

    def _answer(self, kind: int, body: bytes) -> Iterator[bytes]:
        if kind == frames.INFO:
            yield frames.frame(frames.INFO, info.answer(self.namespace, body, self.port))
        elif kind == frames.COMPRESSED:
            yield frames.frame(frames.RECORD, frames.message(ENTERPRISE_ONLY))
        elif kind == frames.RECORD:
            yield from self._execute(frames.parse_message(body))
        else:
            raise frames.Closed

    def _execute(self, request: frames.Request) -> Iterator[bytes]:
        is_scan = frames.PARTITIONS in request.fields or frames.RESUME in request.fields
        self.clock.settle(0.15 if is_scan or request.info1 & frames.IS_BATCH else 0.01)
        if request.info1 & frames.IS_BATCH:
            yield from batch.execute(self.namespace, request, self.faults)
        elif is_scan:
            yield from scan.execute(self.namespace, request, self.faults)
        else:
            reply = operations.execute(self.namespace, request, self.faults)
            yield frames.frame(
                frames.RECORD,
                frames.message(
                    reply.result,
                    generation=reply.generation,
                    void_time=self.clock.for_client(reply.void_time),
                    ops=reply.ops,
                ),
            )
