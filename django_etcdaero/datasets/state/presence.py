"""Who reads: each process with a reader keeps a key ``processes/<host>-<pid>-<random>`` under a lease.

The value is a JSON object of host, pid, start, and for each dataset the version held, the state and the schema, so that
a status page can say how many of the processes have arrived on a version. The key vanishes with the process. A process
that uses several aliases registers under each, with the same host, pid and start.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from django_etcdaero.datasets.layout import PROCESSES
from django_etcdaero.exceptions import ResponseError
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.system.processes import is_dead, this_process

from .stored_value import StoredValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Process(StoredValue):
    """A process as it registered itself."""

    started: float
    """Seconds since the epoch."""
    versions: dict[str, int | None]
    """Version held, by dataset; ``None``: none yet."""
    states: dict[str, str]
    """State, by dataset."""
    schemas: dict[str, int]
    """Schema, by dataset: versions of different schemas have nothing to do with each other."""
    process: dict[str, Any] | None = None
    """What shows on its host whether it still runs (:mod:`django_etcdaero.system.processes`)."""


class Presence:
    """The registration of this process under one alias; ``started`` is the same under all of them."""

    def __init__(self, kv: KV, *, ttl: int, started: float) -> None:
        self._kv = kv
        self._ttl = ttl
        self._key = f"{PROCESSES}{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._started = started
        self._written: tuple[int, bytes] | None = None

    def publish(self, versions: dict[str, int | None], states: dict[str, str], schemas: dict[str, int]) -> None:
        """Write the registration if it changed, or if its lease was lost. Raises what the store raises."""
        value = Process(
            started=self._started, versions=versions, states=states, schemas=schemas, process=this_process() or {}
        ).encode()
        lease = self._kv.session(self._ttl).lease
        if self._written != (lease.id, value):
            self._kv.put(self._key, value, lease=lease)
            self._written = (lease.id, value)

    def withdraw(self) -> None:
        """Delete the registration. Raises what the store raises."""
        if self._written is not None:
            self._kv.delete(self._key)
            self._written = None


def processes(kv: KV) -> list[Process]:
    """Return the registered processes, ordered by host and pid.

    Left out are entries that make no sense, and processes of this host that are known to have ended: their entries
    vanish with their leases.
    """
    found: list[Process] = []
    for item in kv.range(PROCESSES, prefix=True).kvs:
        with suppress(ResponseError):
            process = Process.decode(item.value)
            if not is_dead(process.process):
                found.append(process)
    return sorted(found, key=_identity)


def merged(registrations: Iterable[Process]) -> list[Process]:
    """Make one of the registrations that a process has under several aliases; ordered by host and pid."""
    found: dict[tuple[str, int, float], Process] = {}
    for each in registrations:
        seen = found.setdefault(_identity(each), each)
        found[_identity(each)] = replace(
            seen,
            versions=seen.versions | each.versions,
            states=seen.states | each.states,
            schemas=seen.schemas | each.schemas,
        )
    return [found[identity] for identity in sorted(found)]


def _identity(process: Process) -> tuple[str, int, float]:
    return process.host, process.pid, process.started
