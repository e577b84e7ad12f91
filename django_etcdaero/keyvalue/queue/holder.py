"""Who holds a name, leads an election or waits for it, as each contender tells about itself."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.values import KeyValue
from django_etcdaero.system.processes import is_dead, this_process

_ROLE = "wants"
_ROLES = ("read", "write", "semaphore")
"""Anything else under that name, or of another type, is part of the identity that a project has given."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, leads an election, or waits for it. What a foreign client did not tell is empty."""

    key: bytes
    token: int
    """The contender's create revision."""
    lease: int
    host: str = ""
    pid: int | None = None
    since: datetime | None = None
    """When it got into the queue (UTC, by its own clock)."""
    identity: Mapping[str, Any] = field(default_factory=dict)
    """What else the contender told about itself."""
    role: str = ""
    """For a read/write lock what it wants: ``"read"`` or ``"write"``; for a semaphore ``"semaphore"``."""
    process: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    """What shows on its host whether its process still runs; ``None``: it did not tell."""

    @property
    def dead(self) -> bool:
        """Whether its process has ended for certain: it ran on this host, and runs no more. Its key is there until its
        lease runs out."""
        return is_dead(self.process)

    @classmethod
    def read(cls, kv: KeyValue, told: bytes) -> Holder:
        """Read a contender's key and what it ``told`` by its introduction; never fails, whatever that is."""
        try:
            about = json.loads(told)
        except (ValueError, RecursionError):
            about = None
        if not isinstance(about, dict):
            return cls(kv.key, kv.create_revision, kv.lease)
        host, pid, since, process = (about.pop(name, None) for name in ("host", "pid", "since", "process"))
        role = about.pop(_ROLE) if about.get(_ROLE) in _ROLES else ""
        return cls(
            kv.key,
            kv.create_revision,
            kv.lease,
            host=host if isinstance(host, str) else "",
            pid=pid if isinstance(pid, int) and not isinstance(pid, bool) else None,
            since=_time(since) if isinstance(since, str) else None,
            identity=about,
            role=role,
            process=process if isinstance(process, dict) else None,
        )

    def __str__(self) -> str:
        who = f"{self.host or 'unknown'}/{self.pid or '?'}"
        return f"{who} since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else who


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads: the contender that is first in the queue."""

    key: bytes
    value: bytes
    """What the leader announces."""
    token: int
    """The fencing token, which is the key's create revision: greater than those of all leaders before."""
    revision: int
    """When the value was announced (the key's mod revision)."""
    lease: int

    @classmethod
    def read(cls, kv: KeyValue) -> Leader:
        """Read a contender's key."""
        return cls(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.lease)

    def same_as(self, other: object) -> bool:
        """Tell whether both are one and the same leadership, whatever was announced since."""
        return isinstance(other, Leader) and (self.key, self.token) == (other.key, other.token)


@dataclass(frozen=True, slots=True)
class Elected:
    """The election's own candidate leads now."""

    leader: Leader


@dataclass(frozen=True, slots=True)
class Lost:
    """The election's own candidate led and does not any more; ``leader`` is what it was. Who leads now comes next."""

    leader: Leader


@dataclass(frozen=True, slots=True)
class Changed:
    """Somebody else leads now, or nobody (``None``)."""

    leader: Leader | None


@dataclass(frozen=True, slots=True)
class Proclaimed:
    """Who leads goes on to lead and announces another value."""

    leader: Leader


ElectionEvent: TypeAlias = "Elected | Lost | Changed | Proclaimed"


def introduction(client: Client, *, process: bool, role: str = "") -> bytes:
    """Return what this process tells about itself as a contender: a JSON object.

    ``process=True`` adds what later shows, on the same host, whether the process still runs; ``role`` is that of a
    :class:`Holder`.
    """
    since = datetime.now(UTC).isoformat(timespec="milliseconds")
    told = {"host": socket.gethostname(), "pid": os.getpid(), "since": since, **client.identity}
    if process and (mark := this_process()) is not None:
        told["process"] = mark
    if role:
        told[_ROLE] = role
    return json.dumps(told).encode()


def _time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
