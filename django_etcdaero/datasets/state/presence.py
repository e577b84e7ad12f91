"""Who reads, and who watches: each such process keeps keys under a lease, which vanish with it.

``processes/<host>-<pid>-<random>`` says who it is, what it runs and which datasets it reads, and is written once.
``processes/<host>-<pid>-<random>/held`` says what it holds, and is as small for a thousand datasets as for one: the mod
revision of the newest announcement that the process has seen, and by name only the datasets that do not stand as
announced then. So an announcement costs each process one small write, and a status page still can say which version
each process holds: that which was announced at the revision. Rows and bytes are those of the announcement.
``processes/<host>-<pid>-<random>/watches`` names its watches (:mod:`.watching`), if it has any.

A process that uses several aliases registers under each, with the same host, pid and start.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from django_etcdaero.datasets.layout import PROCESSES
from django_etcdaero.datasets.stores import About
from django_etcdaero.exceptions import Compacted, FutureRevision, ResponseError
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.values import KeyValue
from django_etcdaero.system.processes import is_dead, this_process

from . import formats
from .announcement import Announcement
from .reading import Announcements, read_announcements
from .status import State
from .stored_value import StoredValue
from .watching import Watched, WatchesTold, watches_of

_HELD = "/held"
_WATCHES = "/watches"
MOST_STUCK = 10
"""Datasets of which it is told what the process is busy with for long."""
MOST_LOOKS_BACK = 20
"""Revisions at which announcements are looked up for processes that have not seen the newest; of others it is not told
what they hold. They are few: only processes that are just about to load are behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration(StoredValue):
    """Who a process is."""

    started: float
    """Seconds since the epoch."""
    schemas: dict[str, int]
    """Schema of each dataset that it reads: versions of different schemas have nothing to do with each other."""
    process: dict[str, Any] | None = None
    """What shows on its host whether it still runs (:mod:`django_etcdaero.system.processes`)."""
    program: str = ""
    """This and what follows as in :class:`~django_etcdaero.datasets.stores.About`; older code does not tell it."""
    kind: str = ""
    software: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None
    formats: dict[str, Any] | None = None
    """Up to which forms of a version it reads: see :mod:`.formats`; older code does not tell it."""

    def complaint(self) -> str | None:
        odd = [each for each in self.schemas.values() if type(each) is not int]
        return f"has a bad schema: {odd[0]!r}" if odd else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(StoredValue):
    """What a process holds."""

    revision: int
    """Mod revision of the newest announcement that it has seen; 0: none yet."""
    otherwise: dict[str, list[int | str | None]]
    """Version and state of the datasets that are not as announced at the revision, and valid."""
    stuck: dict[str, Any] | None = None
    """What the process has been busy with for long, and since when (seconds since the epoch), by dataset."""


class Busy(NamedTuple):
    """What a process has been busy with for long, for a dataset."""

    what: str
    since: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process as it registered itself."""

    host: str
    pid: int
    started: float
    """Seconds since the epoch."""
    versions: dict[str, int | None]
    """Version held, by dataset; ``None``: none yet, or it is not known."""
    states: dict[str, str]
    """State, by dataset."""
    schemas: dict[str, int]
    """Schema, by dataset."""
    program: str = ""
    """This and what follows as in :class:`~django_etcdaero.datasets.stores.About`; empty: it did not tell."""
    kind: str = ""
    software: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    """How many rows it holds, by dataset, as far as that is known."""
    stored_bytes: dict[str, int] = field(default_factory=dict)
    """Stored bytes of what it holds, by dataset, as far as that is known."""
    stuck: dict[str, Busy] = field(default_factory=dict)
    """What it has been busy with for long, by dataset."""
    watches: tuple[Watched, ...] = ()
    more_watches: int = 0
    """How many it has besides, that it did not tell."""

    @property
    def sizes_known(self) -> bool:
        """Whether ``rows`` and ``stored_bytes`` have all that it holds: not of a version that is not announced."""
        return all(name in self.rows for name, version in self.versions.items() if version is not None)


class Presence:
    """The registration of this process under one alias; ``started`` is the same under all of them."""

    def __init__(self, kv: KV, *, ttl: int, started: float, about: About | None = None) -> None:
        self._kv = kv
        self._about = about or About()
        self._watching = WatchesTold()
        self._ttl = ttl
        self._key = f"{PROCESSES}{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._started = started
        self._written: dict[str, tuple[int, bytes]] = {}
        """Lease and value of each key."""

    def publish(
        self,
        schemas: Mapping[str, int],
        *,
        revision: int,
        otherwise: Mapping[str, tuple[int | None, str]],
        stuck: Mapping[str, tuple[str, float]] | None = None,
    ) -> bool:
        """Write what has changed, or all of it if the lease was lost; return whether anything was written.

        Raises what the store raises.

        The arguments are as in :class:`Registration` and :class:`Held`.
        """
        lease = self._kv.session(self._ttl).lease
        held = Held(
            revision=revision,
            otherwise={name: [*each] for name, each in otherwise.items()},
            stuck={name: [*each] for name, each in sorted((stuck or {}).items())[:MOST_STUCK]} or None,
        )
        who = Registration(
            started=self._started,
            schemas=dict(schemas),
            process=this_process() or {},
            program=self._about.program,
            kind=self._about.kind,
            software=dict(self._about.software) or None,
            settings=dict(self._about.settings) or None,
            formats=dict(formats.told()),
        )
        values = {self._key: who.encode(), self._key + _HELD: held.encode()}
        watching = self._watching.value(self._kv.open_watches())
        if watching is not None:
            values[self._key + _WATCHES] = watching
        written = False
        for key, value in values.items():
            if self._written.get(key) != (lease.id, value):
                self._kv.put(key, value, lease=lease)
                self._written[key] = (lease.id, value)
                written = True
        return written

    def withdraw(self) -> None:
        """Delete the registration. Raises what the store raises."""
        if self._written:
            self._kv.delete_range(self._key, self._key + "0")  # "0" comes right after "/"
            self._written = {}


def processes(kv: KV) -> list[Process]:
    """Return the registered processes, ordered by host and pid.

    Left out are entries that make no sense, and processes of this host that are known to have ended: their entries
    vanish with their leases. Reads the announcements as well. Raises what the store raises.
    """
    answer = kv.range(PROCESSES, prefix=True)
    items = {item.key.decode(errors="replace"): item for item in answer.kvs}
    announced = _Announced(kv, answer.revision)
    found = []
    for key, item in items.items():
        if not key.endswith((_HELD, _WATCHES)):
            with suppress(ResponseError):
                who = Registration.decode(item.value)
                if not is_dead(who.process):
                    process = _process(who, items.get(key + _HELD), announced)
                    watches, more = watches_of(items.get(key + _WATCHES))
                    found.append(replace(process, watches=watches, more_watches=more))
    return sorted(found, key=_identity)


def readers(kv: KV) -> list[Process]:
    """Return those of the registered processes that read datasets; others have watches only. Raises as it does."""
    return [each for each in processes(kv) if each.schemas]


class _AsAnnounced(NamedTuple):
    """What a process holds of its datasets if it holds them as announced at a revision, by dataset."""

    versions: dict[str, int | None]
    states: dict[str, str]
    rows: dict[str, int]
    stored_bytes: dict[str, int]


class _Announced:
    """What was announced at several revisions.

    Most of many processes read the same and have seen the same announcements. What that means for each dataset is found
    out once, and is the same object for all of them.
    """

    def __init__(self, kv: KV, revision: int) -> None:
        self._kv = kv
        self._revision = revision
        self._found: dict[int, Announcements | None] = {}
        self._held: dict[tuple[int, frozenset[tuple[str, int]]], _AsAnnounced] = {}

    def held(self, schemas: Mapping[str, int], revision: int) -> _AsAnnounced:
        """Return what is held of these datasets as announced at a revision; 0: nothing yet."""
        key = revision, frozenset(schemas.items())
        found = self._held.get(key)
        if found is None:
            known = {each: self.at(each, revision) for each in schemas.items()} if revision else {}
            there = {name: seen for (name, _), seen in known.items() if seen is not None}
            found = self._held[key] = _AsAnnounced(
                {name: there[name].version if name in there else None for name in schemas},
                dict.fromkeys(schemas, str(State.VALID if revision else State.INITIALIZING)),
                {name: seen.rows for name, seen in there.items()},
                {name: seen.stored_bytes for name, seen in there.items()},
            )
        return found

    def at(self, dataset: tuple[str, int], at: int) -> Announcement | None:
        """Return what was announced of the dataset at the mod revision of an announcement."""
        newest = self._at(self._revision)
        current = None if newest is None else newest.found.get(dataset)
        if current is None or current.mod_revision > at:
            earlier = self._at(at) if len(self._found) <= MOST_LOOKS_BACK else None
            current = None if earlier is None else earlier.found.get(dataset)
        return None if current is None else current.announcement

    def _at(self, revision: int) -> Announcements | None:
        if revision not in self._found:
            try:
                self._found[revision] = read_announcements(self._kv, revision=revision)
            except (Compacted, FutureRevision):
                self._found[revision] = None
        return self._found[revision]


def _process(who: Registration, held: KeyValue | None, announced: _Announced) -> Process:
    what = Held(revision=0, otherwise={}) if held is None else Held.decode(held.value)
    otherwise = {name: _checked(what.otherwise[name]) for name in who.schemas if name in what.otherwise}
    rest = {name: each for name, each in who.schemas.items() if name not in otherwise} if otherwise else who.schemas
    versions, states, rows, stored_bytes = announced.held(rest, what.revision)
    if otherwise:
        versions = {name: otherwise[name][0] if name in otherwise else versions[name] for name in who.schemas}
        states = {name: otherwise[name][1] if name in otherwise else states[name] for name in who.schemas}
    return Process(
        host=who.host,
        pid=who.pid,
        started=who.started,
        versions=versions,
        states=states,
        schemas=who.schemas,
        program=who.program,
        kind=who.kind,
        software=_texts(who.software),
        settings=_texts(who.settings),
        rows=rows,
        stored_bytes=stored_bytes,
        stuck=_stuck(what.stuck),
    )


def _texts(told: dict[str, Any] | None) -> dict[str, str]:
    return {name: value for name, value in (told or {}).items() if isinstance(value, str)}


def _stuck(told: dict[str, Any] | None) -> dict[str, Busy]:
    found = {}
    for name, busy in (told or {}).items():
        match busy:
            case [str() as what, int() | float() as since]:
                found[name] = Busy(what, since)
    return found


def _checked(otherwise: object) -> tuple[int | None, str]:
    match otherwise:
        case [int() | None as version, str() as state]:
            return version, state
    raise ResponseError(f"a process is registered with {otherwise!r} in the place of a version and a state")


def merged(registrations: Iterable[Process]) -> list[Process]:
    """Make one of the registrations that a process has under several aliases; ordered by host and pid."""
    found: dict[tuple[str, int, float], Process] = {}
    for each in registrations:
        seen = found.setdefault(_identity(each), each)
        if seen is each:
            continue
        found[_identity(each)] = replace(
            seen,
            versions=seen.versions | each.versions,
            states=seen.states | each.states,
            schemas=seen.schemas | each.schemas,
            settings=seen.settings | each.settings,
            rows=seen.rows | each.rows,
            stored_bytes=seen.stored_bytes | each.stored_bytes,
            stuck=seen.stuck | each.stuck,
            watches=(*seen.watches, *(watch for watch in each.watches if watch not in seen.watches)),
            more_watches=seen.more_watches + (0 if seen is each else each.more_watches),
        )
    return [found[identity] for identity in sorted(found)]


def _identity(process: Process) -> tuple[str, int, float]:
    return process.host, process.pid, process.started
