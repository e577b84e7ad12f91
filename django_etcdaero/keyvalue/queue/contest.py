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

    def __init__(self, client: Client, name: Text) -> None:
        self.name = to_bytes(name, name=f"{self.kind} name")
        if not self.name:
            raise InvalidRequest(f"{self.kind} name is empty")
        self.label = label(self.name)
        """The name as text, for messages."""
        self._client = client

    async def _holder(self, *, timeout: float | None = None) -> Holder | None:
        """Return what is known of who holds the name now, this process or another; ``None`` if nobody does."""
        in_line = await read_queue(self._client, self.name, second=self.apart, limit=1, timeout=timeout)
        return Holder.read(*in_line[0]) if in_line else None

    holder, aholder = twins(_holder)

    async def _queue(self, *, timeout: float | None = None) -> tuple[Holder, ...]:
        """Return what is known of the holder and of everybody who waits, in the order of their turns."""
        in_line = await read_queue(self._client, self.name, second=self.apart, timeout=timeout)
        return tuple(Holder.read(*each) for each in in_line)

    queue, aqueue = twins(_queue)

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
        holder = await self._holder(timeout=timeout)
        if holder is None or token not in (None, holder.token):
            return None
        if not await remove(self._client, self.name, holder, holder, timeout):
            return None
        logger.warning("%s was removed as holder of %r (token %d)", holder, self.label, holder.token)
        return holder

    force_release, aforce_release = twins(_force_release)

    @acts
    async def _remove_waiter(self, token: int, *, timeout: float | None = None) -> Holder | None:
        """Take the contender with ``token`` out of the queue. Return who it was.

        ``None``: there is no such contender, or it holds the name (see :meth:`force_release`). Its wait ends with
        ``LockLost``, in an election with ``NotLeader``; those behind it move up.
        """
        check_count("token", token)
        in_line = await self._queue(timeout=timeout)
        for waiter in in_line[1:]:
            if waiter.token == token and await remove(self._client, self.name, in_line[0], waiter, timeout):
                logger.warning("%s was removed from the queue for %r (token %d)", waiter, self.label, token)
                return waiter
        return None

    remove_waiter, aremove_waiter = twins(_remove_waiter)
