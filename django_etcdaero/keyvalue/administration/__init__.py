"""Administration of a cluster: its users and roles, its members, its maintenance.

What an engine on servers offers beside the waist (:mod:`~django_etcdaero.keyvalue.engine`); the embedded engine has
nothing to administer. The words are etcd's own (https://etcd.io/docs/v3.5/op-guide/). It all concerns the whole
cluster, whatever prefix a client works below: **keys are absolute** here.

Every method takes a ``timeout`` in seconds (``None``: the engine's default) and raises ``DeadlineExceeded``,
``ClusterError``, ``StoreBusy``, ``PermissionDenied``, ``Unauthenticated`` and what it names. Those that change
something raise ``OutcomeUnknown`` as well, and are not repeated then. With authentication almost all of it is for users
with the role ``root``.

Each method that makes calls has an awaitable twin, whose name has an ``a`` before it: ``amembers``, ``asnapshot``.
Cancelling the task that waits gives the call up, as it does at the waist.

An *endpoint* is ``host:port`` or a client URL, of any member: the engine need not have been told of it.
"""

from __future__ import annotations

from .auth import Auth, AuthStatus, Permission, PermissionType, Role, User
from .cluster import Cluster, Member
from .maintenance import Maintenance
from .values import (
    Alarm,
    AlarmType,
    Backup,
    EndpointHealth,
    EndpointState,
    EndpointStatus,
    HashKV,
    MemberStatus,
    SnapshotProgress,
)

__all__ = [
    "Alarm",
    "AlarmType",
    "Auth",
    "AuthStatus",
    "Backup",
    "Cluster",
    "EndpointHealth",
    "EndpointState",
    "EndpointStatus",
    "HashKV",
    "Maintenance",
    "Member",
    "MemberStatus",
    "Permission",
    "PermissionType",
    "Role",
    "SnapshotProgress",
    "User",
]
