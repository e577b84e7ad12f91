"""A deployment whose stores are on servers: an etcd cluster, and an Aerospike namespace or a database."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from django.db import connections

from django_etcdaero import schemes
from django_etcdaero.keyvalue import KV
from django_etcdaero.records.store import RecordStore
from django_etcdaero.stores.address import RECORDS_ROOM, Plane
from django_etcdaero.stores.aerospike import AerospikeAddress
from django_etcdaero.stores.database import DatabaseAddress
from django_etcdaero.stores.etcd import EtcdAddress
from tests.processes.site import Process, Site, opened_by
from tests.waiting import wait_until

_numbers = itertools.count(1)


class ServerSite(Site):
    """A deployment at two URLs, under a prefix of its own. For a look into the stores it keeps its connections open."""

    def __init__(self, directory: Path, *, kv: str, records: str) -> None:
        super().__init__(directory, kv=kv, records=records, prefix=f"shop-{next(_numbers)}")
        self._opened = contextlib.ExitStack()
        self._kv: KV | None = None
        self._records: RecordStore | None = None
        self._copies: list[Site] = []

    def copy(self, directory: Path) -> Site:
        shutil.copytree(self.directory, directory)
        copied = ServerSite(directory, kv=self.urls["KV"], records=self.urls["RECORDS"])
        self._copies.append(copied)
        start, new_start = f"{self.prefix}/".encode(), f"{copied.prefix}/".encode()
        with self.kv() as kv, copied.kv() as new_kv:
            for item in kv.range("", prefix=True).kvs:
                if not item.key.startswith(RECORDS_ROOM.encode()):
                    new_kv.put(item.key, item.value)
        with self.records() as records, copied.records() as new_records:
            for key, meta in list(records.scan(start)):
                record = records.get(key)
                assert record is not None
                new_records.put(new_start + key.removeprefix(start), record.value, ttl=meta.ttl)
        return copied

    def freeze(self, process: Process) -> None:
        process.signal(signal.SIGSTOP)
        wait_until(lambda: process.stopped, what="a process that has stopped")

    def stores_open_in(self, pid: int) -> list[str]:
        """Return the connections of a process to the servers."""
        opened = opened_by(pid)
        addresses = [self.location(plane) for plane in Plane]
        ports = {
            endpoint.port
            for address in addresses
            if isinstance(address, EtcdAddress | AerospikeAddress)
            for endpoint in address.endpoints
        }
        ports |= {
            int(connections.settings[address.alias]["PORT"])
            for address in addresses
            if isinstance(address, DatabaseAddress)
        }
        found = []
        for family in ("tcp", "tcp6"):  # gRPC uses IPv6 sockets for IPv4 as well
            for line in Path(f"/proc/{pid}/net/{family}").read_text().splitlines()[1:]:
                _, local, remote, *_, inode = line.split()[:10]
                if int(remote.rpartition(":")[2], 16) in ports and f"socket:[{inode}]" in opened:
                    found.append(f"{local} to {remote}")
        return sorted(found)

    @contextlib.contextmanager
    def kv(self) -> Iterator[KV]:
        if self._kv is None:
            engine = schemes.open_engine(self.location(Plane.KV), timeout=10)
            self._opened.callback(engine.close)
            self._kv = KV(engine, prefix=f"{self.prefix}/")
            self._opened.callback(self._kv.close)
        yield self._kv

    @contextlib.contextmanager
    def records(self) -> Iterator[RecordStore]:
        if self._records is None:
            self._records = schemes.open_store(self.location(Plane.RECORDS), timeout=10)
            self._opened.callback(self._records.close)
        yield self._records

    def close(self) -> None:
        super().close()
        for copied in self._copies:
            copied.close()
        self._opened.close()
