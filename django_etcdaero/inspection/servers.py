"""The servers behind the stores: members, space, what they refuse. Asked of all aliases at once, within a deadline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django_etcdaero import conf
from django_etcdaero.exceptions import EtcdAeroError, NotSupported
from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.records.aerospike.node_answers import Properties, number, part_used, properties
from django_etcdaero.records.aerospike.store import AerospikeStore
from django_etcdaero.records.store import RecordStore
from django_etcdaero.runtime import runtime
from django_etcdaero.stores.address import Address
from django_etcdaero.stores.local import FileAddress

from .database_file import look_at_file
from .key_reach import Reach, reach
from .problem import Problem, problem_of
from .silence import answered
from .together import together, within


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """How full something is. What is not told is ``None``."""

    used: int | None = None
    """Bytes."""
    most: int | None = None
    """Bytes that there may be."""
    part: float | None = None
    """The part that is used, from 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A server of a cluster, or a file."""

    name: str
    version: str = ""
    leads: bool = False
    learner: bool = False
    space: Space = Space()
    in_use: int | None = None
    """Bytes of the file that hold something; the rest are holes."""
    stops_writes: bool | None = None
    """It takes no writes; ``None``: it does not tell."""
    error: str = ""
    """Why it does not answer, or what is wrong in its words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """One store, whichever aliases use it."""

    aliases: tuple[str, ...]
    plane: str
    """``"KV"`` or ``"RECORDS"``."""
    kind: str
    """As :class:`~django_etcdaero.records.store.StoreInfo` has it, ``"etcd"`` or ``"sqlite"``, say."""
    location: str
    """Without a password."""
    members: list[Member] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    reach: Reach | None = None
    """Of the history; ``None``: there is none, or it could not be found out."""
    records: tuple[int, int] | None = None
    """How many there are and may be, where that is bounded."""
    problems: list[Problem] = field(default_factory=list)

    @property
    def file(self) -> Member | None:
        """The file that it is, if it is one."""
        return self.members[0] if self.location.startswith("sqlite:") and self.members else None

    @property
    def hides_quota(self) -> bool:
        """Whether members of etcd do not tell how large their files may get: before 3.6."""
        return self.kind == "etcd" and any(
            each.space.used is not None and each.space.most is None for each in self.members
        )

    @property
    def has_leader(self) -> bool | None:
        """``None``: it needs none, or nothing is known."""
        if self.kind != "etcd" or not any(not each.error for each in self.members):
            return None
        return any(each.leads for each in self.members)


def ask_servers(*, timeout: float) -> list[Servers]:
    """Ask the servers of all aliases, for ``timeout`` seconds at most. What does not answer is in ``problems``."""
    used: dict[tuple[str, Address], list[str]] = {}
    for alias in conf.aliases():
        try:
            settings = conf.get(alias)
        except EtcdAeroError:  # the system checks tell of it, and so does whoever opens its stores
            continue
        used.setdefault(("KV", settings.kv), []).append(alias)
        used.setdefault(("RECORDS", settings.records), []).append(alias)
    questions: dict[tuple[str, Address, str], Callable[[], Any]] = {}
    for (plane, address), aliases in used.items():
        for name, ask in (_KV if plane == "KV" else _RECORDS).items():
            questions[plane, address, name] = partial(ask, aliases[0], address, within(timeout))
    answers = together(questions, timeout=timeout)
    by_store: dict[tuple[str, Address], dict[str, Any]] = {key: {} for key in used}
    for (plane, address, name), answer in answers.items():
        by_store[plane, address][name] = answer
    return [_servers(*key, used[key], found) for key, found in by_store.items()]


def _servers(plane: str, address: Address, aliases: list[str], answers: dict[str, Any]) -> Servers:
    told = {name: answer for name, answer in answers.items() if not isinstance(answer, Exception)}
    if ("reach" if plane == "KV" else "kind") in told:  # which asks the store itself, not its client or its file
        answered(aliases[0], plane)
    failed = {
        (type(answer).__name__, str(answer)): problem_of(answer, alias=aliases[0], store=plane)
        for answer in answers.values()
        if isinstance(answer, Exception) and not isinstance(answer, NotSupported)
    }
    return Servers(
        aliases=tuple(aliases),
        plane=plane,
        kind=told.get("kind") or address.safe.partition(":")[0],
        location=address.safe,
        members=told.get("members") or [],
        alarms=told.get("alarms") or [],
        reach=told.get("reach"),
        records=told.get("records"),
        problems=list(failed.values()),
    )


# KV -------------------------------------------------------------------------------------------------------------------


def _engine(alias: str) -> Engine:
    return runtime.stores(alias).kv.open_engine()


def _kind_of_engine(alias: str, address: Address, timeout: float) -> str:
    return _engine(alias).info.kind


def _members(alias: str, address: Address, timeout: float) -> list[Member]:
    if isinstance(address, FileAddress):
        return [_file(address)]
    maintenance = _engine(alias).maintenance
    found = []
    for each in maintenance.statuses(timeout=timeout):
        status = each.status
        if status is None:
            found.append(Member(name=each.endpoint, error=each.error))
            continue
        quota = status.db_size_quota or None
        found.append(
            Member(
                name=each.endpoint,
                version=status.version,
                leads=status.is_leader,
                learner=status.is_learner,
                space=Space(used=status.db_size, most=quota, part=status.db_size / quota if quota else None),
                in_use=status.db_size_in_use or None,
                error="; ".join(status.errors),
            )
        )
    return found


def _alarms(alias: str, address: Address, timeout: float) -> list[str]:
    return [f"{each.type.name} ({each.member_id:x})" for each in _engine(alias).maintenance.alarms(timeout=timeout)]


def _reach(alias: str, address: Address, timeout: float) -> Reach:
    return reach(runtime.stores(alias).kv, timeout=timeout)


def _file(address: FileAddress) -> Member:
    found = look_at_file(address.path)
    used = (found.bytes or 0) + found.log_bytes
    return Member(name=str(address.path), space=Space(used=used, most=used + found.free))


# records --------------------------------------------------------------------------------------------------------------


def _store(alias: str) -> RecordStore:
    return runtime.stores(alias).records


def _kind_of_store(alias: str, address: Address, timeout: float) -> str:
    store = _store(alias)
    store.exists(b"etcdaero-overview", timeout=timeout)  # whether it answers
    return store.info.kind


def _nodes(alias: str, address: Address, timeout: float) -> list[Member]:
    if isinstance(address, FileAddress):
        return [_file(address)]
    store = _store(alias)
    if not isinstance(store, AerospikeStore):
        raise NotSupported("this kind of store has no servers of its own")
    told = store.ask_nodes(f"namespace/{store.namespace}", timeout=timeout)
    builds = store.ask_nodes("build", timeout=timeout)
    return [_node(name, builds.get(name, ""), properties(text)) for name, text in sorted(told.items())]


def _node(name: str, build: str, told: Properties) -> Member:
    used = number(told, "data_used_bytes", "device_used_bytes", "memory_used_bytes")
    most = number(told, "data_total_bytes", "device_total_bytes", "memory-size")
    stops = [told[key] == "true" for key in ("stop_writes", "clock_skew_stop_writes") if key in told]
    return Member(
        name=name,
        version=build,
        space=Space(
            used=None if used is None else int(used), most=None if most is None else int(most), part=part_used(told)
        ),
        stops_writes=any(stops) if stops else None,
    )


def _records(alias: str, address: Address, timeout: float) -> tuple[int, int]:
    found = _store(alias).fill(timeout=timeout)
    if found.records is None or found.limit is None:
        raise NotSupported("this kind of store has no bound of its own")
    return found.records, found.limit


_KV: dict[str, Callable[..., Any]] = {
    "kind": _kind_of_engine,
    "members": _members,
    "alarms": _alarms,
    "reach": _reach,
}
_RECORDS: dict[str, Callable[..., Any]] = {"kind": _kind_of_store, "members": _nodes, "records": _records}
