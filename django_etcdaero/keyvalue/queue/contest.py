"""A name that is contended for, as operators look at it: who holds it, who waits, and taking somebody out."""

from __future__ import annotations

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue.arguments import check_count
from django_etcdaero.keyvalue.client.background import logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.keys import Text, to_bytes
from django_etcdaero.system.acting import acts
from django_etcdaero.system.twins import twins

from .holder import Holder
from .layout import label
from .reading import read_queue, remove


class Contest:
    """What is asked about the queue under a name. Nothing here needs a place in it."""

    kind = "contender"
    """What messages call it."""
    apart = False
    """Contenders introduce themselves in second keys."""
    alone = True
    """One contender at a time holds the name."""

    def __init__(self, client: Client, name: Text) -> None:
        self.name = to_bytes(name, name=f"{self.kind} name")
        if not self.name:
            raise InvalidRequest(f"{self.kind} name is empty")
        self.label = label(self.name)
        """The name as text, for messages."""
        self._client = client

    async def _holder(self, *, timeout: float | None = None) -> Holder | None:
        """Return what is known of who holds the name now, this process or another; ``None`` if nobody does."""
        in_line = await self._read_line(limit=1, timeout=timeout)
        return in_line[0] if in_line else None

    holder, aholder = twins(_holder)

    async def _queue(self, *, timeout: float | None = None) -> tuple[Holder, ...]:
        """Return what is known of the holder and of everybody who waits, in the order of their turns."""
        return await self._read_line(limit=0, timeout=timeout)

    queue, aqueue = twins(_queue)

    async def _holders(self, *, timeout: float | None = None) -> tuple[Holder, ...]:
        """Return what is known of who holds the name now, in the order in which they came."""
        in_line = await self._read_line(limit=1 if self.alone else 0, timeout=timeout)
        return in_line[: await self._count_holders(in_line, timeout=timeout)]

    async def _read_line(self, *, limit: int, timeout: float | None) -> tuple[Holder, ...]:
        """Return the contenders in order, with ``limit`` at least one if there is one."""
        in_line = await read_queue(self._client, self.name, second=self.apart, limit=limit, timeout=timeout)
        return tuple(Holder.read(*each) for each in in_line)

    async def _count_holders(self, in_line: tuple[Holder, ...], *, timeout: float | None) -> int:
        """Return how many of those ``in_line``, the first ones, hold the name."""
        return min(1, len(in_line))

    @acts
    async def _force_release(self, *, token: int | None = None, timeout: float | None = None) -> Holder | None:
        """Take the name from whoever holds it, and let the next in the queue have it. Return who it was.

        With ``token`` only from the holder with that token. ``None`` is returned if nobody was removed: the name is
        free, or its holder is another one or went by itself at the same moment. The one removed learns it as a loss
        (``REMOVED``); until it has, it may go on, so its writes should be guarded by ``compare()`` or the token. After
        ``OutcomeUnknown`` a repetition with the token does no harm.
        """
        if token is not None:
            check_count("token", token)
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

    @acts
    async def _remove_waiter(self, token: int, *, timeout: float | None = None) -> Holder | None:
        """Take the contender with ``token`` out of the queue. Return who it was.

        ``None``: there is no such contender, or it holds the name (see :meth:`force_release`). Its wait ends with
        ``LockLost``, in an election with ``NotLeader``; those behind it move up.
        """
        check_count("token", token)
        in_line = await self._queue(timeout=timeout)
        holders = in_line[: await self._count_holders(in_line, timeout=timeout)]
        for waiter in in_line[len(holders) :]:
            if waiter.token == token and await remove(self._client, self.name, holders, waiter, timeout):
                logger.warning("%s was removed from the queue for %r (token %d)", waiter, self.label, token)
                return waiter
        return None

    remove_waiter, aremove_waiter = twins(_remove_waiter)
