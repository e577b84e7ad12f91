"""A distributed lock: fair, fenced, and honest about its loss.

It is a place in the queue of contenders under its name (:mod:`django_etcdaero.keyvalue.queue.place` has the protocol);
who is first in the queue holds it. ``etcdctl lock NAME`` stands in the same queue.

No lock over a network can promise that two holders never run at the same time: a process may sleep past its lease. What
it can do is make the late one's writes fail. So a holder puts :meth:`Lock.compare` into the transactions that need the
lock, or hands :attr:`Lock.token` to systems that refuse tokens smaller than the greatest they have seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar

from django_etcdaero.exceptions import LockLost, LockTimeout
from django_etcdaero.keyvalue.arguments import check_timeout
from django_etcdaero.keyvalue.client.background import logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.session import Session
from django_etcdaero.keyvalue.keys import Text
from django_etcdaero.system.acting import acts
from django_etcdaero.system.twins import TwinBlocks, twins

from .contender import Contender
from .decorated import under
from .holder import Holder as Holder
from .holder import introduction
from .place import Place

P = ParamSpec("P")
R = TypeVar("R")


class Lock(Contender, TwinBlocks):
    """A lock under a name; made with :meth:`KV.lock() <django_etcdaero.keyvalue.facade.KV.lock>`.

    One object is one contender: threads and tasks that compete use one object each. As a context manager, also an
    asynchronous one, it acquires and releases; a body that finished although the lock was lost meanwhile gets
    ``LockLost`` at the end, unless it raised an error of its own. As a decorator it gives each call of the function,
    which may be a coroutine function, a lock object of its own.
    """

    kind = "lock"
    do_not_call_in_templates = True
    """For Django's templates, which call what can be called: as a decorator it can be."""

    def __init__(self, client: Client, name: Text, *, ttl: int, timeout: float | None) -> None:
        super().__init__(client, name, ttl=ttl)
        check_timeout(timeout)
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
            raise LockLost(f"{self.label!r} had been lost before it was released{self._why()}")

    release, arelease = twins(_release)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return ``function`` such that each call holds the lock, with the ``ttl`` and ``timeout`` of this object.

        The call raises what :meth:`acquire` raises, and ``LockLost`` if the lock was lost before it returned. Raises
        ``InvalidRequest`` for a generator function; so does a call in a call of the same thread or task, which would
        wait for itself.
        """
        return under(self._another, function, self.label)

    def _another(self) -> Lock:
        return type(self)(self._client, self.name, ttl=self.ttl, timeout=self._timeout)

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

    def _make_place(self, session: Session) -> Place:
        return Place(self._client, session, self.name, introduction(self._client, process=True))
