"""What processes ask of the stores, counted by the clients, and what the servers count themselves."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scale import metrics

CALLS = ("get", "get_many", "exists_many", "put", "put_many", "increment")


class Log:
    """What a process does, a line of JSON for each thing: its kind, begin and end, CPU seconds so far at both."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def write(self, kind: str, began: float, used: float, **more: Any) -> None:
        line = {"kind": kind, "began": began, "ended": time.time(), "used": used, "used_then": time.process_time()}
        self._file.write(json.dumps(line | more) + "\n")

    def wrap(self, owner: Any, name: str, kind: Callable[..., str], count: Callable[[Any], dict[str, int]]) -> None:
        function = getattr(owner, name)

        def logged(*args: Any, **kwargs: Any) -> Any:
            began, used = time.time(), time.process_time()
            result = function(*args, **kwargs)
            self.write(kind(*args), began, used, **count(result))
            return result

        setattr(owner, name, logged)


def fetched(found: Any) -> dict[str, int]:
    """Count records and bytes of what a store gave."""
    records = list(found.values()) if isinstance(found, dict) else [found]
    values = [each.value for each in records if isinstance(getattr(each, "value", None), bytes)]
    return {"records": len(values), "bytes": sum(map(len, values))}


def instrument(log: Log) -> None:
    """Have it logged what this process is told and what it asks its stores for, and when it puts a fetch off."""
    from django_etcdaero import schemes
    from django_etcdaero.datasets.read.announced import AnnouncementView
    from django_etcdaero.datasets.read.fetching import Fetching

    open_store, until = schemes.open_store, Fetching._until

    def opened(*args: Any, **kwargs: Any) -> Any:
        store = open_store(*args, **kwargs)
        for name in CALLS:
            log.wrap(store, name, lambda *args: "records", fetched)
        return store

    def put_off(self: Fetching, *args: Any, **kwargs: Any) -> float | None:
        found = until(self, *args, **kwargs)
        if found is not None:
            log.write("splay", time.time(), time.process_time())
        return found

    def told(self: Any, item: Any) -> None:
        log.write("told", time.time(), time.process_time())
        hear(self, item)

    schemes.open_store = opened
    hear = AnnouncementView._told
    AnnouncementView._told = told  # type: ignore[method-assign]
    Fetching._until = put_off  # type: ignore[method-assign]
    if os.environ.get("BENCHMARK_KV", "").startswith("etcd"):
        from django_etcdaero.keyvalue.etcd import EtcdEngine

        log.wrap(EtcdEngine, "_call", lambda self, method, *rest: f"etcd {method}", lambda result: {})


def listener(port: int) -> Path | None:
    """Return the directory in ``/proc`` of the process of this machine that takes connections at this port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{each[9]}]" for each in lines if each[3] == "0A" and int(each[1].split(":")[1], 16) == port}
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if os.readlink(descriptor) in sockets:
                return descriptor.parent.parent
    return None


def _port(variable: str, scheme: str) -> int | None:
    address = urlsplit(os.environ.get(variable, ""))
    return address.port if address.scheme == scheme else None


class Servers:
    """What servers tell of themselves, and their CPU seconds if they are on this machine."""

    def __init__(self, products: Any) -> None:
        from django_etcdaero.runtime import runtime

        self._port = _port("BENCHMARK_KV", "etcd")
        self._records = runtime.stores(products.using).records
        ports = {"etcd": self._port, "Aerospike": _port("BENCHMARK_RECORDS", "aerospike")}
        self._processes = {name: listener(port) for name, port in ports.items() if port is not None}

    def counters(self) -> dict[str, float]:
        """Return what they count, and their CPU seconds so far, with the time."""
        found = {"seconds": time.time()} | self._aerospike() | self._etcd()
        for name, process in self._processes.items():
            if process is not None:
                tasks = process.glob("task/*/schedstat")
                found[f"{name}: CPU, s"] = sum(int(each.read_text().split()[0]) for each in tasks) / 1e9
        return found

    def _aerospike(self) -> dict[str, float]:
        """Return Aerospike's counters."""
        found: dict[str, float] = {}
        if hasattr(self._records, "ask_nodes"):
            commands = (f"namespace/{self._records.namespace}", "statistics")
            told = ";".join(text for command in commands for text in self._records.ask_nodes(command).values())
            for pair in told.split(";"):
                name, _, value = pair.partition("=")
                if name in ("batch_sub_read_success", "client_read_success", "batch_index_complete"):
                    found[f"Aerospike: {name}"] = found.get(f"Aerospike: {name}", 0) + float(value)
        return found

    def _etcd(self) -> dict[str, float]:
        """Return etcd's counters."""
        if self._port is None:
            return {}
        told = metrics(self._port)
        found = {f"etcd: {name}": float(told[f"grpc_server_started_total.{name}"]) for name in ("Range", "Put", "Txn")}
        found["etcd: events sent"] = float(told["etcd_debugging_mvcc_events_total"])
        found["etcd: bytes sent"] = float(told["etcd_network_client_grpc_sent_bytes_total"])
        return found


def difference(one: dict[str, float], other: dict[str, float], *, times: float = 1.0) -> dict[str, float]:
    return {name: one[name] - times * other[name] for name in one}
