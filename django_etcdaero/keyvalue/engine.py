"""The waist of the coordination plane: what a key-value engine must do, and the values that cross it.

An engine has the semantics of etcd v3, exactly: one store-wide revision that every change raises by one, keys with
create and mod revision and version, multi-key transactions, leases, history and compaction, watches. The words are
etcd's own (https://etcd.io/docs/v3.5/learning/api/); how keys and ranges are written is said in
:mod:`django_etcdaero.keyvalue.values`. Everything above (client, locks, sessions, datasets) is written once on top of
this and never asks which engine it runs on.

Times are seconds. Every call takes a ``timeout`` in seconds (``None``: the engine's default, never "for ever") and
raises errors of :mod:`django_etcdaero.exceptions` only: ``DeadlineExceeded``, ``ClusterError``, ``StoreBusy``,
``OutcomeUnknown`` from any call, and what each method names.

Event loops use the awaitable twins (``arange``, ``aput``, …), each of which does and raises what the blocking method of
the same name does. An engine that can only block has them made by a few threads, as they are here; one that can do
without threads overrides them. Cancelling the task that waits gives the call up: a read has no effect; a write may be
applied or not, as one whose answer was lost.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from django_etcdaero.exceptions import Cancelled, ConfigurationError, EtcdAeroError, NotSupported
from django_etcdaero.system.acting import acts, overrides_act
from django_etcdaero.system.clocks import monotonic

from . import values
from .threaded import ThreadedCalls, threaded
from .values import RenewalSink

if TYPE_CHECKING:  # at run time only who administers needs it
    from .administration import Auth, Cluster, Maintenance

Clock: TypeAlias = Callable[[], float]
"""Returns seconds that never go back."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine is, for people: status pages, errors, logs. Never contains a password."""

    kind: str
    """``"embedded"`` or ``"etcd"``."""
    location: str
    """The URL without user and password."""
    details: dict[str, str] = field(default_factory=dict)


class Engine(ThreadedCalls, ABC):
    """An etcd v3 store. Safe to share between threads, not between processes: see :meth:`abandon`."""

    info: EngineInfo
    marks_caught_up = False
    """Whether a watch with ``progress_notify`` that begins in the past gets a mark when it has caught up."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        overrides_act(cls)

    # keys ------------------------------------------------------------------------------------------------------------

    @abstractmethod
    def range(self, request: values.RangeRequest, *, timeout: float | None = None) -> values.RangeResult:
        """Read keys. Raises ``InvalidRequest`` (empty key, bad enum), ``Compacted``, ``FutureRevision``."""

    def get(self, key: bytes, *, timeout: float | None = None) -> values.KeyValue | None:
        """Read one key as it is now, ``None`` if there is none: the commonest call, which an engine may make faster."""
        found = self.range(values.RangeRequest(key), timeout=timeout).kvs
        return found[0] if found else None

    @abstractmethod
    def put(self, request: values.PutRequest, *, timeout: float | None = None) -> values.PutResult:
        """Write a key. Raises ``InvalidRequest``, ``LeaseNotFound``; ``KeyNotFound`` for ``ignore_*`` without key."""

    @abstractmethod
    def delete_range(self, request: values.DeleteRequest, *, timeout: float | None = None) -> values.DeleteResult:
        """Delete keys; deleting nothing is no error and no new revision."""

    @abstractmethod
    def txn(self, request: values.TxnRequest, *, timeout: float | None = None) -> values.TxnResult:
        """Run a transaction. Raises what its operations raise (then nothing is applied) and ``InvalidRequest``.

        At most 128 comparisons and 128 operations a branch (etcd's default ``--max-txn-ops``).
        """

    @abstractmethod
    def compact(self, revision: int, *, physical: bool = False, timeout: float | None = None) -> None:
        """Forget history before ``revision``. Raises ``Compacted`` (done already) and ``FutureRevision``."""

    # leases ----------------------------------------------------------------------------------------------------------

    @abstractmethod
    def lease_grant(self, ttl: int, *, lease_id: int = 0, timeout: float | None = None) -> values.LeaseStatus:
        """Grant a lease of ``ttl`` whole seconds (at least 2, as in etcd). Raises ``LeaseExists``, ``InvalidRequest``.

        ``lease_id`` 0 lets the store choose. A lease whose caller gave up may be granted all the same, and runs out.
        """

    @abstractmethod
    def lease_revoke(self, lease_id: int, *, timeout: float | None = None) -> None:
        """End a lease and delete its keys in one revision. Raises ``LeaseNotFound``."""

    @abstractmethod
    def lease_keep_alive(self, lease_id: int, *, timeout: float | None = None) -> int:
        """Renew a lease once; return its time to live in seconds. Raises ``LeaseNotFound``."""

    @abstractmethod
    def lease_keep_alive_many(
        self, lease_ids: Sequence[int], sink: RenewalSink, *, clock: Clock = monotonic, timeout: float | None = None
    ) -> None:
        """Renew each of many leases once, the first ones first; return when all have been answered.

        ``sink`` is called from this thread once for each lease, as soon as its answer is there; it must return quickly
        and never raise. An unknown lease is an answer. A lease that gets no answer holds up no other for longer than
        half of ``timeout``. If some are without an answer at the end an error is raised; the answers that ``sink`` was
        given stand. ``clock`` gives the times of the answers.
        """

    @abstractmethod
    def lease_time_to_live(
        self, lease_id: int, *, keys: bool = False, timeout: float | None = None
    ) -> values.LeaseStatus:
        """Tell what is left of a lease; an unknown one has ``ttl`` -1 and raises nothing."""

    @abstractmethod
    def lease_list(self, *, timeout: float | None = None) -> tuple[int, ...]:
        """Return the ids of all leases."""

    # watches ---------------------------------------------------------------------------------------------------------

    @abstractmethod
    def watch(
        self, request: values.WatchRequest, sink: values.WatchSink, *, timeout: float | None = None
    ) -> values.WatchHandle:
        """Start a watch and return when the store has accepted it.

        From then on every change is delivered to ``sink``, from a thread of the engine, in order and one call at a time
        for each watch. The sink must return quickly and never raise. Broken connections are resumed by the engine
        without a gap; what cannot be resumed is told with ``WatchBatch.lost``. Raises ``InvalidRequest``.
        """

    # awaitable twins, made in a few threads --------------------------------------------------------------------------

    arange = threaded(range)  # noqa: A003 - the method above
    aput = threaded(put)
    adelete_range = threaded(delete_range)
    atxn = threaded(txn)
    acompact = threaded(compact)
    alease_grant = threaded(lease_grant)
    alease_revoke = threaded(lease_revoke)
    alease_keep_alive = threaded(lease_keep_alive)
    alease_time_to_live = threaded(lease_time_to_live)
    alease_list = threaded(lease_list)

    async def awatch(
        self, request: values.WatchRequest, sink: values.WatchSink, *, timeout: float | None = None
    ) -> values.WatchHandle:
        """Start a watch. ``sink`` is called from a thread of the engine. A cancelled call leaves no watch behind."""
        return await self._start_in_thread(lambda left: self.watch(request, sink, timeout=left), sink, timeout)

    # administration --------------------------------------------------------------------------------------------------

    @property
    def auth(self) -> Auth:
        """Users and roles of the cluster. Raises ``NotSupported`` if there is no cluster."""
        raise self._without("users and roles")

    @property
    def cluster(self) -> Cluster:
        """The members of the cluster. Raises ``NotSupported`` if there is no cluster."""
        raise self._without("members")

    @property
    def maintenance(self) -> Maintenance:
        """Health, status, alarms and backups of the members. Raises ``NotSupported`` if there is no cluster."""
        raise self._without("members to maintain")

    def _without(self, what: str) -> NotSupported:
        return NotSupported(f"the {self.info.kind} engine on {self.info.location} has no {what}; an etcd cluster does")

    # life ------------------------------------------------------------------------------------------------------------

    @abstractmethod
    @acts
    def close(self) -> None:
        """Stop threads, end watches (their sinks get ``WatchLost.CLOSED``) and release the store. Idempotent.

        Calls after it raise ``Cancelled``.
        """

    def before_fork(self, timeout: float) -> None:
        """Get ready for a fork of this process (see :mod:`django_etcdaero.system.forks`).

        Waits at most ``timeout`` seconds for calls under way; new calls wait for :meth:`after_fork_in_parent`. What
        must not be inherited is closed, and opened again when needed. Never raises.
        """

    @acts
    def after_fork_in_parent(self) -> None:
        """Go on as before the fork: leases, watches and locks of this process are kept."""

    @abstractmethod
    @acts
    def abandon(self) -> None:
        """In the child of a fork: forget everything inherited without touching it, so that nothing is closed twice.

        The engine is unusable afterwards; the child opens its own.
        """

    def _refusal(self, opener: int) -> EtcdAeroError:
        """Return the error for a call of an engine that was closed, or inherited from the process ``opener``."""
        if opener == os.getpid():
            return Cancelled(f"the engine on {self.info.location} was closed")
        return ConfigurationError(
            f"the engine on {self.info.location} was opened in process {opener} and is used in its fork "
            f"{os.getpid()}: abandon it there and open another one"
        )
