"""The server that the tests run on: a stand-in, or the real one named by ``ETCDAERO_TEST_AEROSPIKE``.

``ETCDAERO_TEST_AEROSPIKE=host:port/namespace`` needs a server of one node whose namespace has nsup-period above 0; the
set :data:`SET` of it is emptied again and again, and nsup-period and max-record-size are changed for moments.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django_etcdaero.records.aerospike.store import AerospikeStore
from tests.records.aerospike.standin import Standin, frames
from tests.waiting import wait_until

SET = "etcdaero_tests"
REAL = os.environ.get("ETCDAERO_TEST_AEROSPIKE")


@dataclass
class Served:
    """A server, with an empty set for one test."""

    host: str
    port: int
    namespace: str
    standin: Standin | None
    opened: list[AerospikeStore] = field(default_factory=list)

    def store(self, **options: Any) -> AerospikeStore:
        """Open a store; it is closed at the end."""
        defaults: dict[str, Any] = {
            "hosts": [(self.host, self.port)],
            "namespace": self.namespace,
            "set_name": SET,
            "timeout": 20.0,
        }
        options = defaults | options
        self.opened.append(AerospikeStore(options.pop("hosts"), **options))
        return self.opened[-1]

    def pass_time(self, seconds: float) -> None:
        """Let the server's time pass; a real server's clock cannot be shifted, so there it takes as long as it says."""
        if self.standin is None:
            time.sleep(seconds)
        else:
            self.standin.clock.advance(seconds)

    def ask(self, command: str) -> str:
        """Return the answer to a text command."""
        with socket.create_connection((self.host, self.port), timeout=10) as connection:
            connection.sendall(frames.frame(frames.INFO, f"{command}\n".encode()))
            return frames.read_frame(connection)[1].decode().partition("\t")[2].strip()

    def setting(self, name: str) -> str:
        """Return a setting of the namespace."""
        return dict(item.split("=", 1) for item in self.ask(f"namespace/{self.namespace}").split(";"))[name]

    @contextlib.contextmanager
    def configured(self, name: str, value: str) -> Iterator[None]:
        """Change a setting of the namespace for a while."""
        before = self.setting(name)
        try:
            assert self.ask(f"set-config:context=namespace;namespace={self.namespace};{name}={value}") == "ok"
            yield
        finally:
            assert self.ask(f"set-config:context=namespace;namespace={self.namespace};{name}={before}") == "ok"

    @contextlib.contextmanager
    def limited(self, records: int) -> Iterator[None]:
        """Let the set, which must have been written to, take no more records than that for a while."""
        command = f"set-config:context=namespace;namespace={self.namespace};set={SET};stop-writes-count="
        try:
            assert self.ask(f"{command}{records}") == "ok"
            yield
        finally:
            assert self.ask(f"{command}0") == "ok"


@contextlib.contextmanager
def served() -> Iterator[Served]:
    """Give a server with an empty set."""
    with contextlib.ExitStack() as stack:
        if REAL:
            address, _, namespace = REAL.partition("/")
            host, _, port = address.rpartition(":")
            server = Served(host, int(port), namespace, None)
            store = server.store()
            store.truncate()
            wait_until(lambda: not list(store.scan()), what="the set being empty")
            wait_until(lambda: time.time() % 1 < 0.2, what="the start of a second")  # the server counts whole ones
        else:
            standin = stack.enter_context(Standin())
            standin.clock.stop()
            server = Served(standin.host, standin.port, standin.namespace.name, standin)
        try:
            yield server
        finally:
            for store in server.opened:
                store.close()
