"""What maintenance tells: health, status, alarms, checksums, backups."""

from __future__ import annotations

import enum
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
    db_size_quota: int = 0
    """Bytes that its file may have (``--quota-backend-bytes``); 0: it does not tell (etcd before 3.6)."""

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
