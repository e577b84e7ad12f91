"""The key-value client: everything that users do with the coordination plane starts here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, TypeVar, Unpack

from django_etcdaero.system.blocking import refuse_in_event_loop
from django_etcdaero.system.steps import adrive, drive
from django_etcdaero.system.twins import twins

from .arguments import IterateOptions
from .client.client import Client
from .keys import Text
from .recipes import atomic, holding, paging, waiting
from .recipes import mirror as mirroring
from .recipes.contention import MAX_ATTEMPTS
from .recipes.monotonic import MonotonicReads
from .recipes.stm import AsyncTransaction, Isolation, Transaction, transact
from .values import KeyValue

if TYPE_CHECKING:
    from .administration import Auth, Cluster, Maintenance
    from .objects import Collection, ObjectTxn
    from .objects.codec import Types, Unknown
    from .queue.election import Election
    from .queue.lock import Lock
    from .queue.rwlock import RWLock
    from .queue.semaphore import Semaphore

T = TypeVar("T")

FOR_THE_PACKAGE = frozenset(
    {
        "callbacks",
        "chores",
        "closed_loops",
        "engine",
        "expiring",
        "keyspace",
        "life",
        "open_engine",
        "renewal",
        "sessions",
        "start_watch",
        "txn_run",
        "atxn_run",
    }
)
"""What a client has for the parts of the package; not shown where names are completed."""


class KV(Client):
    """A client of an :class:`~django_etcdaero.keyvalue.engine.Engine`, below a prefix. Safe to share between threads.

    All keys are relative to ``prefix``: it is put before every key sent and taken off every key returned. Keys and
    values are given as str (sent as UTF-8) or bytes and come back as bytes. ``timeout`` is in seconds; ``None`` is the
    engine's default. Each method raises what the engine's method raises (:mod:`django_etcdaero.keyvalue.engine`),
    ``InvalidRequest`` naming an argument that is wrong, and ``Cancelled`` once the client is closed or if it was
    inherited across a fork.

    The engine stays its opener's: closing the client does not close it.

    Here are the recipes, each in a module of its own (those for locks, leaders and objects are imported on first use);
    the plain calls are those of :class:`~django_etcdaero.keyvalue.client.client.Client`. Methods that begin with ``a``
    are awaited, and do what the blocking one does.
    """

    def __dir__(self) -> list[str]:
        return sorted(set(super().__dir__()) - FOR_THE_PACKAGE)

    # many keys -------------------------------------------------------------------------------------------------------

    def iterate(
        self, key: Text, range_end: Text | None = None, **options: Unpack[IterateOptions]
    ) -> Iterator[KeyValue]:
        """Go through a range of any size, page by page, as of one revision:
        :mod:`django_etcdaero.keyvalue.recipes.paging`.
        """
        return iter(paging.Pages(self, key, range_end, **options))

    def aiterate(
        self, key: Text, range_end: Text | None = None, **options: Unpack[IterateOptions]
    ) -> AsyncIterator[KeyValue]:
        """Go through a range of any size as :meth:`iterate` does, with ``async for``."""
        return aiter(paging.Pages(self, key, range_end, **options))

    first, afirst = twins(paging.first)
    last, alast = twins(paging.last)

    def monotonic_reads(self) -> MonotonicReads:
        """Return reads that any one member may answer and that never go back in time:
        :mod:`django_etcdaero.keyvalue.recipes.monotonic`.
        """
        return MonotonicReads(self)

    mirror = mirroring.mirror
    amirror = mirroring.amirror

    # one key, read and written in one step ---------------------------------------------------------------------------

    increment, aincrement = twins(atomic.increment)
    test_and_set, atest_and_set = twins(atomic.test_and_set)
    wait_for, await_for = twins(waiting.wait_for)

    def stm(
        self,
        function: Callable[[Transaction], T],
        *,
        isolation: Isolation = Isolation.SERIALIZABLE_SNAPSHOT,
        max_attempts: int = MAX_ATTEMPTS,
        timeout: float | None = None,
    ) -> T:
        """Run ``function(tx)`` as one transaction over what it reads and writes; return what it returns.

        It is called again when a key that it read was changed meanwhile: :mod:`django_etcdaero.keyvalue.recipes.stm`.
        """
        refuse_in_event_loop("stm()", "await astm(…)")
        steps = transact(self, function, Transaction, isolation=isolation, max_attempts=max_attempts, timeout=timeout)
        answer: T = drive(steps)
        return answer

    async def astm(
        self,
        function: Callable[[AsyncTransaction], Awaitable[T]],
        *,
        isolation: Isolation = Isolation.SERIALIZABLE_SNAPSHOT,
        max_attempts: int = MAX_ATTEMPTS,
        timeout: float | None = None,
    ) -> T:
        """Run ``await function(tx)`` as :meth:`stm` runs ``function(tx)``."""
        steps = transact(
            self, function, AsyncTransaction, isolation=isolation, max_attempts=max_attempts, timeout=timeout
        )
        answer: T = await adrive(steps)
        return answer

    temporary_key = holding.temporary_key
    atemporary_key = holding.atemporary_key

    # locks, leaders and objects --------------------------------------------------------------------------------------

    def lock(self, name: Text, *, ttl: int = 10, timeout: float | None = None) -> Lock:
        """Return a lock on ``name``, not acquired yet.

        ``ttl``: seconds after which a dead holder's lock is free. ``timeout``: what :meth:`Lock.acquire
        <django_etcdaero.keyvalue.queue.lock.Lock.acquire>` and ``with`` use by default; ``None`` waits as long as it
        takes.
        """
        from .queue.lock import Lock

        return Lock(self, name, ttl=ttl, timeout=timeout)

    def semaphore(
        self, name: Text, limit: int | None = None, *, ttl: int = 10, timeout: float | None = None
    ) -> Semaphore:
        """Return a semaphore on ``name``, not acquired yet, which ``limit`` contenders may hold at the same time.

        ``None``: as many as the store says. ``ttl`` and ``timeout`` as with :meth:`lock`.
        """
        from .queue.semaphore import Semaphore

        return Semaphore(self, name, limit, ttl=ttl, timeout=timeout)

    def rwlock(self, name: Text, *, ttl: int = 10, timeout: float | None = None) -> RWLock:
        """Return a read/write lock on ``name``, which many may hold to read, or one to write.

        ``ttl`` and ``timeout`` as with :meth:`lock`.
        """
        from .queue.rwlock import RWLock

        return RWLock(self, name, ttl=ttl, timeout=timeout)

    def election(self, name: Text, *, ttl: int = 10, value: Text = b"") -> Election:
        """Return an election under ``name``, in which this is a candidate with ``value``, not campaigning yet.

        ``ttl``: seconds after which a dead leader is replaced.
        """
        from .queue.election import Election

        return Election(self, name, ttl=ttl, value=value)

    def objects(self, types: Types[T], prefix: Text, *, unknown: Unknown = "ignore") -> Collection[T]:
        """Return the objects of ``types`` that are stored under ``prefix``: :mod:`django_etcdaero.keyvalue.objects`.

        ``unknown``: whether stored fields that a type does not have are ignored or refused.
        """
        from .objects import Collection

        return Collection(self, types, prefix, unknown=unknown)

    def object_txn(self) -> ObjectTxn:
        """Return a transaction over objects, of several collections if need be."""
        from .objects import ObjectTxn

        return ObjectTxn(self)

    # administration --------------------------------------------------------------------------------------------------

    @property
    def auth(self) -> Auth:
        """Users and roles of the store. Raises ``NotSupported`` where it has none."""
        return self.open_engine().auth

    @property
    def cluster(self) -> Cluster:
        """The members of the store. Raises ``NotSupported`` where there are none."""
        return self.open_engine().cluster

    @property
    def maintenance(self) -> Maintenance:
        """Status, alarms, snapshots and the like. Raises ``NotSupported`` where there is nothing to maintain."""
        return self.open_engine().maintenance
