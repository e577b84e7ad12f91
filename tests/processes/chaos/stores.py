"""The stores of the chaos: an etcd of one member or several, the way to the record store, and a disk for the files."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from _pytest.outcomes import Skipped

from tests.full_disk import SmallDisk, small_disk
from tests.keyvalue.etcd.servers import Cluster, Server
from tests.records.aerospike.line import Line

MEMBERS = int(os.environ.get("ETCDAERO_TEST_CHAOS_MEMBERS", "1"))


class Etcd:
    """One server, or a cluster, all of which can be away."""

    def __init__(self, members: Sequence[Server], cluster: Cluster | None) -> None:
        self.members = members
        self.cluster = cluster
        """If there are several members."""

    @property
    def url(self) -> str:
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


@contextmanager
def running_etcd(directory: Path) -> Iterator[Etcd]:
    """Start it; kill it at the end."""
    if MEMBERS == 1:
        with Server("one", directory / "one").running() as server:
            yield Etcd([server], None)
    else:
        with Cluster(directory, MEMBERS).running() as cluster:
            yield Etcd(cluster.members, cluster)


class Stores:
    """All that can be away, slow, empty or full."""

    def __init__(self, etcd: Etcd, records: Line, disk: SmallDisk | None) -> None:
        self.etcd = etcd
        self.records = records
        """The way to the record store of the alias on servers."""
        self.disk = disk
        """Where the stores of the alias on files are; ``None``: no disk can be mounted here."""


@contextmanager
def running_stores(directory: Path, records_url: str, room: str) -> Iterator[tuple[Stores, str, Path]]:
    """Yield the stores, with the URL of the records and the directory of the files."""
    address, slash, rest = records_url.removeprefix("aerospike://").partition("/")
    host, _, port = address.partition(":")
    with ExitStack() as stack:
        etcd = stack.enter_context(running_etcd(directory / "etcd"))
        line = stack.enter_context(Line((host, int(port))))
        files, disk = directory / "files", None
        try:
            disk = stack.enter_context(small_disk(directory / "disk", room))
            files = disk.directory
        except Skipped:
            files.mkdir()
        yield Stores(etcd, line, disk), f"aerospike://{line.host}:{line.port}{slash}{rest}", files
