"""Health, status, alarms, defragmentation, backups: the values, and what an engine offers."""

from __future__ import annotations

import enum
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """What one member says of itself."""

    endpoint: str
    member_id: int
    cluster_id: int
    version: str
    leader: int
    """Id of the leader, 0 for none."""
    is_learner: bool
    revision: int
    db_size: int
    """Bytes of its file."""
    db_size_in_use: int
    """Bytes of it in use; defragmentation gives the rest back."""
    raft_term: int
    raft_index: int
    raft_applied_index: int
    errors: tuple[str, ...]
    """What is wrong, raised alarms for example, in the server's words."""

    @property
    def is_leader(self) -> bool:
        """True for the leader."""
        return self.leader == self.member_id


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """The status of the member behind an endpoint, or why there is none."""

    endpoint: str
    status: MemberStatus | None
    error: str
    """Empty if there is a status."""


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """How the member behind an endpoint does."""

    endpoint: str
    reachable: bool
    """It answers."""
    has_leader: bool
    serves_reads: bool
    """It has answered a linearizable read: it works together with a majority of the cluster."""
    is_learner: bool
    """It cannot serve reads yet."""
    latency: float | None
    """Seconds that the read took, connecting included; ``None`` if it was not answered."""
    error: str
    """What went wrong, and alarms that are raised; empty if all is well."""

    @property
    def healthy(self) -> bool:
        """True if it does what it should: a learner follows a leader, any other member serves reads."""
        return self.reachable and self.has_leader and (self.serves_reads or self.is_learner)


@dataclass(frozen=True, slots=True)
class EndpointState:
    """How the engine itself fares with an endpoint."""

    endpoint: str
    in_use: bool
    """Calls go there."""
    failures: int
    """Failures in a row; 0 for one that works or was not used yet."""
    retry_in: float
    """Seconds for which it is left alone, unless all others fail too."""


class AlarmType(enum.IntEnum):
    """Why a cluster limits itself; the numbers are etcd's wire values."""

    NOSPACE = 1
    """A member's quota is used up: nothing may be written."""
    CORRUPT = 2
    """Members disagree about their data."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm that a member has raised."""

    member_id: int
    type: AlarmType


@dataclass(frozen=True, slots=True)
class HashKV:
    """Checksum of a member's keys up to a revision; members with the same history have the same."""

    endpoint: str
    member_id: int
    hash: int
    compact_revision: int
    """Checksums are comparable only if this is the same."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was written and verified."""

    path: Path
    size: int
    """Bytes of the file."""
    sha256: str
    """Checksum of the database in it, in hexadecimal, which the server appended and the file was compared with."""


SnapshotProgress: TypeAlias = Callable[[int, int], object]
"""Called with the bytes received and the bytes expected altogether."""


class Maintenance(ABC):
    """Looking after the members one by one."""

    @abstractmethod
    def endpoints(self) -> tuple[EndpointState, ...]:
        """Return the endpoints that this engine uses and how it fares with them. Makes no call."""

    @abstractmethod
    def health(self, *, timeout: float | None = None) -> tuple[EndpointHealth, ...]:
        """Examine all endpoints at the same time; a member that is dead or frozen costs ``timeout``, and no error.

        Raises ``Unauthenticated`` if the user is not accepted.
        """

    @abstractmethod
    async def ahealth(self, *, timeout: float | None = None) -> tuple[EndpointHealth, ...]:
        """Do what :meth:`health` does, for event loops."""

    @abstractmethod
    def statuses(self, *, timeout: float | None = None) -> tuple[EndpointStatus, ...]:
        """Return the status of all endpoints, asked at the same time; one that does not answer is no error."""

    @abstractmethod
    async def astatuses(self, *, timeout: float | None = None) -> tuple[EndpointStatus, ...]:
        """Do what :meth:`statuses` does, for event loops."""

    @abstractmethod
    def status(self, endpoint: str | None = None, *, timeout: float | None = None) -> MemberStatus:
        """Return the status of one member, by default of the one in use, or another one if that does not answer."""

    @abstractmethod
    async def astatus(self, endpoint: str | None = None, *, timeout: float | None = None) -> MemberStatus:
        """Do what :meth:`status` does, for event loops."""

    @abstractmethod
    def alarms(self, *, timeout: float | None = None) -> tuple[Alarm, ...]:
        """Return the alarms that are raised."""

    @abstractmethod
    async def aalarms(self, *, timeout: float | None = None) -> tuple[Alarm, ...]:
        """Do what :meth:`alarms` does, for event loops."""

    @abstractmethod
    def disarm(self, alarm: Alarm | None = None, *, timeout: float | None = None) -> tuple[Alarm, ...]:
        """Take back one alarm, or all; return those that were raised. Remove the cause first, or they come back."""

    @abstractmethod
    async def adisarm(self, alarm: Alarm | None = None, *, timeout: float | None = None) -> tuple[Alarm, ...]:
        """Do what :meth:`disarm` does, for event loops."""

    @abstractmethod
    def defragment(self, endpoint: str, *, timeout: float = 120.0) -> None:
        """Give unused space of a member's file back to its file system. The member serves nobody meanwhile."""

    @abstractmethod
    async def adefragment(self, endpoint: str, *, timeout: float = 120.0) -> None:
        """Do what :meth:`defragment` does, for event loops."""

    @abstractmethod
    def hash_kv(self, endpoint: str, *, revision: int = 0, timeout: float | None = None) -> HashKV:
        """Return the checksum of a member's keys up to ``revision`` (0: its latest).

        Raises ``Compacted`` and ``FutureRevision``.
        """

    @abstractmethod
    async def ahash_kv(self, endpoint: str, *, revision: int = 0, timeout: float | None = None) -> HashKV:
        """Do what :meth:`hash_kv` does, for event loops."""

    @abstractmethod
    def move_leader(self, member_id: int, *, timeout: float | None = None) -> None:
        """Make another member the leader. Raises ``NotFound``, and ``FailedPrecondition`` if it cannot be one."""

    @abstractmethod
    async def amove_leader(self, member_id: int, *, timeout: float | None = None) -> None:
        """Do what :meth:`move_leader` does, for event loops."""

    @abstractmethod
    def snapshot(
        self,
        path: str | os.PathLike[str],
        *,
        endpoint: str | None = None,
        progress: SnapshotProgress | None = None,
        timeout: float = 600.0,
    ) -> Backup:
        """Write a backup of the whole store into the file ``path``, for ``etcdctl snapshot restore``.

        It is written beside ``path`` first, readable by its owner only, verified with the checksum that the server
        sends at the end, made durable, and then put in its place, where it replaces a former one: what is at ``path``
        is always whole. Without ``endpoint`` it is taken from the member in use, or another one if that fails; then
        ``progress`` begins anew.

        Raises ``ResponseError`` for a checksum that does not fit, and ``OSError`` if the file cannot be written.
        """

    @abstractmethod
    async def asnapshot(
        self,
        path: str | os.PathLike[str],
        *,
        endpoint: str | None = None,
        progress: SnapshotProgress | None = None,
        timeout: float = 600.0,
    ) -> Backup:
        """Do what :meth:`snapshot` does, for event loops; ``progress`` is called from another thread."""
