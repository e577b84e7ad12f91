"""A read/write lock: many may read together, or one may write, in the order in which they came.

How its queue works is told in :mod:`django_etcdaero.keyvalue.queue.rwlock_place`. The ``RWMutex`` of etcd's Go client
stands in the same queue. Of that one it is known that a waiter whose session has ended does not look whether its own
key is still there, and goes on as if it held the lock; here this is ``LockLost``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.session import Session
from django_etcdaero.keyvalue.keys import Text
from django_etcdaero.system.acting import acts
from django_etcdaero.system.twins import twins

from .holder import Holder, introduction
from .layout import READ, WRITE, side_of, sides
from .lock import Lock
from .place import Place
from .reading import read_line
from .rwlock_place import ReadPlace, WritePlace


def count_holders(in_line: Sequence[Holder]) -> int:
    """Return how many of the contenders for a read/write lock, the first ones, hold it: readers, or one writer."""
    reading = sum(1 for _ in takewhile(lambda each: each.role == READ, in_line))
    return reading or min(1, len(in_line))


class WriteLock(Lock):
    """The right to write, which nobody has beside anybody else; made with :meth:`RWLock.write`. Used as a
    :class:`~django_etcdaero.keyvalue.queue.lock.Lock`, whose queue is that of readers and writers together.
    """

    kind = "write lock"
    alone = False
    role = WRITE

    async def _read_line(self, *, limit: int, timeout: float | None) -> tuple[Holder, ...]:
        in_line, _ = await read_line(self._client, self.name, limit, lambda: timeout, among=sides)
        return tuple(replace(Holder.read(kv, kv.value), role=side_of(self.name, kv.key)) for kv in in_line)

    async def _count_holders(self, in_line: tuple[Holder, ...], *, timeout: float | None) -> int:
        return count_holders(in_line)

    def _make_place(self, session: Session) -> Place:
        return WritePlace(self._client, session, self.name, introduction(self._client, process=True, role=self.role))


class ReadLock(WriteLock):
    """The right to read, which many may have together; made with :meth:`RWLock.read`. Used as a
    :class:`~django_etcdaero.keyvalue.queue.lock.Lock`, whose queue is that of readers and writers together.
    """

    kind = "read lock"
    role = READ

    def _make_place(self, session: Session) -> Place:
        return ReadPlace(self._client, session, self.name, introduction(self._client, process=True, role=self.role))


class RWLock:
    """A lock under a name that many may hold to read, or one to write; made with :meth:`KV.rwlock()
    <django_etcdaero.keyvalue.facade.KV.rwlock>`.

    Each call of :meth:`read` and :meth:`write` makes a contender of its own.
    """

    def __init__(self, client: Client, name: Text, *, ttl: int, timeout: float | None) -> None:
        self._client = client
        self._ttl = ttl
        self._timeout = timeout
        self._looking = WriteLock(client, name, ttl=ttl, timeout=timeout)
        self.name = self._looking.name

    def __repr__(self) -> str:
        return f"<RWLock {self._looking.label!r}>"

    def read(self) -> ReadLock:
        """Return a lock for reading, not acquired yet."""
        return ReadLock(self._client, self.name, ttl=self._ttl, timeout=self._timeout)

    def write(self) -> WriteLock:
        """Return a lock for writing, not acquired yet."""
        return WriteLock(self._client, self.name, ttl=self._ttl, timeout=self._timeout)

    # looking into the queue ------------------------------------------------------------------------------------------

    async def _holders(self, *, timeout: float | None = None) -> tuple[Holder, ...]:
        """Return what is known of who holds the lock now: readers, or one writer; their ``role`` tells."""
        return await self._looking._holders(timeout=timeout)

    holders, aholders = twins(_holders)

    async def _queue(self, *, timeout: float | None = None) -> tuple[Holder, ...]:
        """Return what is known of the holders and of everybody who waits, in the order of their turns."""
        return await self._looking._queue(timeout=timeout)

    queue, aqueue = twins(_queue)

    # for operators ---------------------------------------------------------------------------------------------------

    @acts
    async def _force_release(self, *, token: int | None = None, timeout: float | None = None) -> Holder | None:
        """Take the lock from the holder with ``token``, from the one who came first if there is none; see
        :meth:`Lock.force_release() <django_etcdaero.keyvalue.queue.lock.Lock.force_release>`.
        """
        return await self._looking._force_release(token=token, timeout=timeout)

    force_release, aforce_release = twins(_force_release)

    @acts
    async def _remove_waiter(self, token: int, *, timeout: float | None = None) -> Holder | None:
        """Take the one with ``token`` who waits out of the queue; see
        :meth:`Lock.remove_waiter() <django_etcdaero.keyvalue.queue.lock.Lock.remove_waiter>`.
        """
        return await self._looking._remove_waiter(token, timeout=timeout)

    remove_waiter, aremove_waiter = twins(_remove_waiter)
