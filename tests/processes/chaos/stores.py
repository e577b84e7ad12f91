"""The stores of the chaos: an etcd of one member or several, the way to the record store, and a disk for the files."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from _pytest.outcomes import Skipped

from tests.full_disk import SmallDisk, small_disk
from tests.keyvalue.etcd.servers import Cluster, Server, free_ports
from tests.processes.chaos.site import FAULTS
from tests.records.aerospike.line import Line
from tests.records.aerospike.serving import REAL, SET, Served
from tests.waiting import wait_until

MEMBERS = int(os.environ.get("ETCDAERO_TEST_CHAOS_MEMBERS", "3" if FAULTS else "1"))
NAMESPACE = REAL.partition("/")[2] if REAL else "test"


class Etcd:
    """One server, or a cluster, all of which can be away."""

    def __init__(
        self, directory: Path, members: Sequence[Server], cluster: Cluster | None, lines: Sequence[Line]
    ) -> None:
        self._directory = directory
        self.members = members
        self.lines = lines
        """The way to each member."""
        self.cluster = cluster
        """If there are several members."""

    @property
    def url(self) -> str:
        return "etcd://" + ",".join(f"{line.host}:{line.port}" for line in self.lines)

    @property
    def direct_url(self) -> str:
        return "etcd://" + ",".join(member.endpoint for member in self.members)

    def freeze(self) -> None:
        for member in self.members:
            member.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        for member in self.members:
            member.signal(signal.SIGCONT)

    def kill(self) -> None:
        for member in self.members:
            member.kill()

    def start(self) -> None:
        for member in self.members:
            member.start()

    def healthy(self) -> bool:
        return all(
            member.process is not None and member.etcdctl("endpoint", "health", check=False).returncode == 0
            for member in self.members
        )

    def agrees(self) -> bool:
        """Tell whether all members have the same data, which they have not in etcd 3.5.0 to 3.5.5 after some faults."""
        return self.cluster is None or self.cluster.agree()

    def save(self, number: int) -> Path:
        """Return a snapshot of what one member has."""
        path = self._directory / f"snapshot-{number}.db"
        self.members[0].etcdctl("snapshot", "save", str(path))
        return path

    def begin_anew(self, snapshot: Path | None) -> None:
        """Start all members with what is in a snapshot, or with nothing."""
        self.kill()
        for member in self.members:
            member.wipe()
            if snapshot is not None:
                member.restore(snapshot)
        self.start()


@contextmanager
def running_etcd(directory: Path) -> Iterator[Etcd]:
    """Start it; kill it at the end."""
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(directory, MEMBERS).running()) if MEMBERS > 1 else None
        members = cluster.members if cluster else [stack.enter_context(Server("one", directory / "one").running())]
        lines = [stack.enter_context(Line(("127.0.0.1", member.client_port))) for member in members]
        yield Etcd(directory, members, cluster, lines)


class RecordServer:
    """A stand-in for Aerospike in a process of its own, which keeps its port over restarts and forgets all records."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.records.aerospike.standin", "--port", str(self.port)]
        self._process = subprocess.Popen([*command, "--namespace", "test"], stdout=subprocess.DEVNULL)

    def started(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> RecordServer:
        self.start()
        wait_until(self.started, 60, "the start of the stand-in for Aerospike")
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()


class Stores:
    """All that can be away, slow, empty or full."""

    def __init__(self, etcd: Etcd, server: RecordServer | None, address: str, disk: SmallDisk | None) -> None:
        host, _, port = address.rpartition(":")
        self.etcd = etcd
        self.server = server
        """The record store of the alias on servers, if it may be killed."""
        self.records = Line((host, int(port)))
        """The way to it."""
        self.disk = disk
        """Where the stores of the alias on files are; ``None``: no disk can be mounted here."""
        self._served = Served(host, int(port), NAMESPACE, None)
        self.record_urls = [
            f"aerospike://{each}/{NAMESPACE}/{SET}" for each in (f"127.0.0.1:{self.records.port}", address)
        ]
        """The address for processes, and the one that no fault of connections is about."""

    def limit_records(self, count: int) -> None:
        """Let the record store take no more records when it has so many; 0: as many as there are."""
        self._served.ask(f"set-config:context=namespace;namespace={NAMESPACE};set={SET};stop-writes-count={count}")


@contextmanager
def running_stores(directory: Path, room: str) -> Iterator[tuple[Stores, Path]]:
    """Yield the stores, with the directory of the files."""
    with ExitStack() as stack:
        etcd = stack.enter_context(running_etcd(directory / "etcd"))
        server = None if REAL else stack.enter_context(RecordServer())
        address = f"127.0.0.1:{server.port}" if server else (REAL or "").partition("/")[0]
        files, disk = directory / "files", None
        try:
            disk = stack.enter_context(small_disk(directory / "disk", room))
            files = disk.directory
        except Skipped:
            files.mkdir()
        stores = Stores(etcd, server, address, disk)
        with stores.records:
            yield stores, files
