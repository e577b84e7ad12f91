"""A distributed lock: fair, fenced, and honest about its loss.

It is a place in the queue of contenders under its name (:mod:`django_etcdaero.keyvalue.queue.place` has the protocol);
who is first in the queue holds it. ``etcdctl lock NAME`` stands in the same queue.

No lock over a network can promise that two holders never run at the same time: a process may sleep past its lease. What
it can do is make the late one's writes fail. So a holder puts :meth:`Lock.compare` into the transactions that need the
lock, or hands :attr:`Lock.token` to systems that refuse tokens smaller than the greatest they have seen.
"""

from __future__ import annotations

from typing import Literal

from django_etcdaero.exceptions import LockLost, LockTimeout
from django_etcdaero.keyvalue.client.background import logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.session import Session
from django_etcdaero.keyvalue.keys import Text
from django_etcdaero.system.acting import acts
from django_etcdaero.system.twins import TwinBlocks, twins

from .contender import Contender
from .holder import Holder as Holder
from .holder import introduction
from .place import Place
from .reading import remove


class Lock(Contender, TwinBlocks):
    """A lock under a name; made with :meth:`KV.lock() <django_etcdaero.keyvalue.facade.KV.lock>`.

    One object is one contender: threads and tasks that compete use one object each. As a context manager, also an
    asynchronous one, it acquires and releases; a body that finished although the lock was lost meanwhile gets
    ``LockLost`` at the end, unless it raised an error of its own.
    """

    kind = "lock"

    def __init__(self, client: Client, name: Text, *, ttl: int, timeout: float | None) -> None:
        super().__init__(client, name, ttl=ttl)
        self._timeout = timeout

    # taking and giving back ------------------------------------------------------------------------------------------

    @acts
    async def _acquire(self, timeout: float | None = None) -> Literal[True]:
        """Take the lock, in turn, within ``timeout`` seconds. Return True: without the lock it raises.

        ``None``: the timeout given to :meth:`.KV.lock`; if that is ``None`` too, as long as it takes. 0: try once,
        without getting into the queue.

        Raises ``LockTimeout`` when the time is over, whether the lock was not free or the store did not answer (its
        ``__cause__`` is the store's error then); ``LockLost`` if the place in the queue was lost (the store was away
        for longer than the ttl, or somebody deleted the key); ``InvalidRequest`` if this object has the lock already;
        and what a transaction raises. Who waits in the queue waits on while the store is away. Who does not wait yet
        does not: without a timeout, or with 0, a store that does not answer within the engine's default timeout is an
        error.

        However it ends without the lock, nothing stays in the store: the key is deleted before that, which may take a
        second more, or in the background if the store does not answer or the waiting task is cancelled.
        """
        await self._take(self._timeout if timeout is None else timeout)
        return True

    acquire, aacquire = twins(_acquire)

    @acts
    async def _try_acquire(self, *, timeout: float | None = None) -> bool:
        """Take the lock if nobody holds it or waits for it. Return whether it was taken.

        ``timeout``: seconds that the store may take to answer (``None``: the engine's default). Raises what
        :meth:`acquire` raises, when that time is over the error of the store: ``DeadlineExceeded``, ``ClusterError`` or
        ``OutcomeUnknown``.
        """
        try:
            await self._take(0, patience=timeout)
        except LockTimeout:
            return False
        return True

    try_acquire, atry_acquire = twins(_try_acquire)

    @acts
    async def _release(self) -> None:
        """Give the lock back and let the next in the queue have it.

        If the store cannot be reached the key is deleted in the background; that is no error. Raises ``LockLost`` if
        the lock had been lost before, ``InvalidRequest`` if it is not held. In the child of a fork it touches no store.
        """
        if not (await self._give_back()):
            raise LockLost(f"{self.label!r} had been lost before it was released")

    release, arelease = twins(_release)

    async def _enter(self) -> None:
        await self._acquire()

    async def _leave(self, error: type[BaseException] | None) -> None:
        if self._place is None:
            return
        try:
            await self._release()
        except LockLost as loss:
            if error is None:
                raise
            logger.warning("%s", loss)

    def _abort(self) -> None:
        place = self._place
        if place is not None:
            self._drop(place)

    def check(self) -> None:
        """Raise ``LockLost`` if the lock is not held any more. Asks no store: :meth:`compare` is the real guard."""
        if not self.held:
            raise LockLost(f"{self.label!r} is not held")

    # for operators ---------------------------------------------------------------------------------------------------

    @acts
    async def _force_release(self, *, token: int | None = None, timeout: float | None = None) -> Holder | None:
        """Take the lock from whoever holds it, and let the next in the queue have it. Return who it was.

        With ``token`` only from the holder with that token. ``None`` is returned if nobody was removed: the lock is
        free, or its holder is another one or went by itself at the same moment. The one removed learns it as a lost
        lock; until it has, it may go on, so its writes should be guarded by :meth:`compare` or the token. After
        ``OutcomeUnknown`` a repetition with the token does no harm.
        """
        holder = await self._holder_with(token, timeout=timeout)
        if holder is None or not await remove(self._client, self.name, (holder,), holder, timeout):
            return None
        logger.warning("%s was removed as holder of %r (token %d)", holder, self.label, holder.token)
        return holder

    force_release, aforce_release = twins(_force_release)

    async def _holder_with(self, token: int | None, *, timeout: float | None) -> Holder | None:
        for holder in await self._holders(timeout=timeout):
            if token in (None, holder.token):
                return holder
        return None

    async def _remove_waiter(self, token: int, *, timeout: float | None = None) -> Holder | None:
        """Take the contender with ``token`` out of the queue. Return who it was.

        ``None``: there is no such contender, or it holds the lock (see :meth:`force_release`). Its wait ends with
        ``LockLost``; those behind it move up.
        """
        in_line = await self._queue(timeout=timeout)
        holders = in_line[: await self._count_holders(in_line, timeout=timeout)]
        for waiter in in_line[len(holders) :]:
            if waiter.token == token and await remove(self._client, self.name, holders, waiter, timeout):
                logger.warning("%s was removed from the queue for %r (token %d)", waiter, self.label, token)
                return waiter
        return None

    remove_waiter, aremove_waiter = twins(_remove_waiter)

    def _make_place(self, session: Session) -> Place:
        return Place(self._client, session, self.name, introduction(self._client, process=True))
