"""Every error that django-etcdaero raises, in one tree under :class:`EtcdAeroError`.

Where a builtin exception says the same thing the class derives from it too, so that software that knows nothing of this
package (health checks, retry libraries, ``except KeyError``) classifies the error rightly. No exception of a client
library or of SQLite crosses the two waists (:mod:`django_etcdaero.keyvalue.engine`,
:mod:`django_etcdaero.records.store`): it is translated there, with the original as ``__cause__``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self


class StatusCode(enum.StrEnum):
    """What kind of error a call ended with, as gRPC names it; each is equal to its name."""

    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"
    DATA_LOSS = "DATA_LOSS"
    UNAUTHENTICATED = "UNAUTHENTICATED"


class EtcdAeroError(Exception):
    """The root of all errors of this package."""

    code: StatusCode | None = None
    """The status that etcd has answered the call with. Other stores, and what is refused before it is sent, have the
    one that etcd gives for the same; ``None``: no call of a store ends with this error."""

    def with_code(self, code: StatusCode | None) -> Self:
        """Set ``code`` to what a server has said, if it has said anything, and return the error."""
        if code is not None:
            self.code = code
        return self


class DeadlineExceeded(EtcdAeroError, TimeoutError):
    """The time allowed for the call ran out before an answer came."""

    code = StatusCode.DEADLINE_EXCEEDED


class Cancelled(EtcdAeroError):
    """The call was cancelled by its own side: the client or the handle was closed while it waited."""

    code = StatusCode.CANCELLED


class ClusterError(EtcdAeroError, ConnectionError):
    """No endpoint of the store could answer.

    ``errors`` maps each endpoint (or file) to what was wrong with it, as text without credentials. ``since``: since
    when none has answered (UTC), if that was known and the call not even tried; ``None`` for one that was.
    """

    code = StatusCode.UNAVAILABLE

    def __init__(self, message: str, errors: Mapping[str, str] | None = None, *, since: datetime | None = None) -> None:
        super().__init__(message)
        self.errors: dict[str, str] = dict(errors or {})
        self.since = since


class ClusterTimeout(ClusterError, DeadlineExceeded):
    """No endpoint answered in time, and one of them at least is silent: it is frozen, or nothing comes through to it.

    It is both a ``ClusterError``, with ``errors`` and ``since``, and a ``DeadlineExceeded``.
    """

    code = StatusCode.DEADLINE_EXCEEDED


class ResponseError(EtcdAeroError):
    """The store answered, and the answer makes no sense (a damaged file, an unknown format, a protocol violation)."""

    code: StatusCode | None = StatusCode.INTERNAL


class OutcomeUnknown(EtcdAeroError, ConnectionError):
    """A write was sent and its answer was lost: it may have been applied or not. It was not repeated."""

    code = StatusCode.UNKNOWN


class InvalidRequest(EtcdAeroError, ValueError):
    """The request breaks a rule of the store: an empty key, a duplicate key in a transaction, too many operations."""

    code = StatusCode.INVALID_ARGUMENT


class ConfigurationError(EtcdAeroError, ValueError):
    """A URL, an option or a declaration is wrong; the message names it."""


class NotSupported(EtcdAeroError, NotImplementedError):
    """The engine in use has no such operation; the message names the engine."""

    code = StatusCode.UNIMPLEMENTED


class PermissionDenied(EtcdAeroError, PermissionError):
    """The store knows the user and refuses the operation to it."""

    code = StatusCode.PERMISSION_DENIED


class Unauthenticated(EtcdAeroError, PermissionError):
    """The store does not accept the user name, password or token."""

    code = StatusCode.UNAUTHENTICATED


class KeyNotFound(EtcdAeroError, KeyError):
    """There is no such key."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0]) if self.args else ""


class KeyExists(EtcdAeroError):
    """The key was to be created and exists already."""


class VersionConflict(EtcdAeroError):
    """The stored version (revision, generation) is not the one the caller expected."""


class TxnFailed(EtcdAeroError):
    """A transaction was to succeed and its comparisons did not hold.

    ``errors`` has an error for each condition that did not hold, as far as that is known.
    """

    def __init__(self, message: str, errors: Sequence[EtcdAeroError] = ()) -> None:
        super().__init__(message)
        self.errors: tuple[EtcdAeroError, ...] = tuple(errors)


class InvalidObject(ResponseError):
    """What is stored cannot be read as an object of the declared class; the message names the place in it."""

    code = None


class Compacted(EtcdAeroError):
    """The revision asked for is older than what the store still keeps.

    ``compact_revision`` is the oldest revision that can still be read (0: the store did not say).
    """

    code = StatusCode.OUT_OF_RANGE

    def __init__(self, message: str, compact_revision: int = 0) -> None:
        super().__init__(message)
        self.compact_revision = compact_revision


class EventsLost(EtcdAeroError):
    """Events of a watch cannot be had any more. Who iterates again goes on after the snapshot.

    ``reason`` is a :class:`~django_etcdaero.keyvalue.client.feed.ResyncReason`. ``snapshot`` is all that there is in
    the watched range as of ``revision``, in the order of the keys: a
    :class:`~django_etcdaero.keyvalue.values.KeyValue` for each, or for the watch of a collection a
    :class:`~django_etcdaero.keyvalue.objects.Stored` for each that it selects, and in ``invalid`` what cannot be read.
    ``compact_revision`` is the oldest revision that can still be read, where ``reason`` is ``"compacted"`` (0: the
    store did not say).
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        snapshot: tuple[Any, ...] = (),
        revision: int = 0,
        compact_revision: int = 0,
        invalid: tuple[Any, ...] = (),
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.snapshot = snapshot
        self.revision = revision
        self.compact_revision = compact_revision
        self.invalid = invalid


class FutureRevision(InvalidRequest):
    """The revision asked for does not exist yet."""

    code = StatusCode.OUT_OF_RANGE


class LeaseNotFound(EtcdAeroError):
    """There is no such lease: never granted, revoked, or expired."""

    code = StatusCode.NOT_FOUND


class LeaseExists(EtcdAeroError):
    """A lease with the chosen id exists already."""

    code = StatusCode.FAILED_PRECONDITION


class LockTimeout(DeadlineExceeded):
    """The lock was not free within the time allowed.

    ``holder`` is who had it then (:class:`~django_etcdaero.keyvalue.queue.holder.Holder`), where the store told it in
    time; else ``None``.
    """

    def __init__(self, message: str, *, holder: Any = None) -> None:
        super().__init__(message)
        self.holder = holder


class LockLost(EtcdAeroError):
    """The lock was held and is not any more: its lease expired or somebody removed its key."""


class NotLeader(EtcdAeroError):
    """The operation is for the leader of an election, and the caller is not it (any more)."""


class NotFound(EtcdAeroError, LookupError):
    """There is no such user, role or member, or nothing of the kind was granted."""

    code = StatusCode.NOT_FOUND


class AlreadyExists(EtcdAeroError):
    """There is a user, a role or a member of this name or address already."""

    code = StatusCode.FAILED_PRECONDITION


class FailedPrecondition(EtcdAeroError):
    """The cluster is not, or not yet, in the state that the operation needs; the message says which. Nothing changed.

    A learner that has not caught up, a cluster too unhealthy to change its members, a root user who is missing.
    """

    code = StatusCode.FAILED_PRECONDITION


class DatasetNotReady(EtcdAeroError):
    """The dataset has not been loaded in this process yet; the message says why."""


class DatasetStale(EtcdAeroError):
    """The data is older than the dataset's ``max_stale``."""


class Fenced(EtcdAeroError):
    """A publish was refused: somebody else published, finished a load or pinned since this refresh began."""


class RefreshInTransaction(EtcdAeroError, RuntimeError):
    """A transaction of the project is open: what would be loaded, or is waited for, may never be committed."""


class RefreshFailed(EtcdAeroError, RuntimeError):
    """A task of a queue could not refresh; the message names each dataset, how its refresh ended and why."""


class LoadOverdue(EtcdAeroError, TimeoutError):
    """A load has not come to its end within the dataset's ``load_timeout``; what it still gives is refused."""


class ValidationFailed(EtcdAeroError):
    """A validator refused the freshly loaded rows.

    ``figures`` is what it measured, by name.
    """

    def __init__(self, message: str, figures: Mapping[str, float] | None = None) -> None:
        super().__init__(message)
        self.figures: dict[str, float] = dict(figures or {})


class EncodeError(EtcdAeroError, TypeError):
    """A row holds something that cannot be stored; the message names the row's key, the place and the type."""


class DuplicateKey(EtcdAeroError, ValueError):
    """A loader gave the same key twice, or one row was asked for by a value that several have."""


class CorruptBlock(ResponseError):
    """A stored block, page or root is not what its name (its digest) says."""

    code = None


class RecursiveLoad(EtcdAeroError, RuntimeError):
    """The cache's ``get_or_set`` was called for a key inside the very function that loads that key."""


class RecordTooBig(EtcdAeroError, ValueError):
    """The value is larger than the store takes in one record."""


class StoreFull(EtcdAeroError):
    """The store has no room for the write."""

    code = StatusCode.RESOURCE_EXHAUSTED


class StoreBusy(EtcdAeroError, TimeoutError):
    """Another process holds the store for longer than the time allowed."""

    code = StatusCode.RESOURCE_EXHAUSTED
