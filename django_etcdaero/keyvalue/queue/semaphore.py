"""A semaphore: a lock that a limited number of contenders may hold at the same time.

How its queue works, and where the limit comes from, is told in :mod:`django_etcdaero.keyvalue.queue.semaphore_place`.
"""

from __future__ import annotations

from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.session import Session
from django_etcdaero.keyvalue.client.steps import Commit, Read
from django_etcdaero.keyvalue.keys import Text
from django_etcdaero.keyvalue.ops import get, put
from django_etcdaero.system.acting import acts
from django_etcdaero.system.twins import twins

from .contender import Contender
from .holder import Holder, introduction
from .layout import check_limit, limit_key, read_limit
from .lock import Lock
from .place import Place
from .semaphore_place import SemaphorePlace


class Semaphore(Lock):
    """A semaphore under a name; made with :meth:`KV.semaphore() <django_etcdaero.keyvalue.facade.KV.semaphore>`.

    Used as a :class:`~django_etcdaero.keyvalue.queue.lock.Lock`, with more than one holder: ``holder()`` is the one who
    came first of them. Besides what a lock's ``acquire`` raises, ``InvalidRequest`` is raised by one whose limit is not
    that of the store while somebody is in the queue.
    """

    kind = "semaphore"
    alone = False

    def __init__(self, client: Client, name: Text, limit: int | None, *, ttl: int, timeout: float | None) -> None:
        super().__init__(client, name, ttl=ttl, timeout=timeout)
        if limit is not None:
            check_limit(limit)
        self.limit = limit
        """How many may hold it, for this object; ``None``: as many as the store says."""

    holders, aholders = twins(Contender._holders)

    async def _stored_limit(self, *, timeout: float | None = None) -> int | None:
        """Return how many may hold it according to the store; ``None``: nobody has said so yet."""
        return read_limit((await Read(self._client, get(limit_key(self.name)), timeout)).kvs)

    stored_limit, astored_limit = twins(_stored_limit)

    @acts
    async def _set_limit(self, limit: int, *, timeout: float | None = None) -> None:
        """Say how many may hold it, for all contenders, from now on and for this object.

        With a greater limit those who wait have their turn at once. With a smaller one nobody loses what it holds:
        those who wait go on to wait until fewer than the limit hold it. Until then :meth:`holders` shows only as many
        of the holders as the limit allows. After ``OutcomeUnknown`` a repetition does no harm.
        """
        check_limit(limit)
        await Commit(self._client.txn().then(put(limit_key(self.name), str(limit))), timeout)
        self.limit = None if self.limit is None else limit

    set_limit, aset_limit = twins(_set_limit)

    async def _count_holders(self, in_line: tuple[Holder, ...], *, timeout: float | None) -> int:
        limit = await self._stored_limit(timeout=timeout) if in_line else None
        return min(limit or 1, len(in_line))

    def _another(self) -> Semaphore:
        return Semaphore(self._client, self.name, self.limit, ttl=self.ttl, timeout=self._timeout)

    def _make_place(self, session: Session) -> Place:
        about = introduction(self._client, process=True, role=self.kind)
        return SemaphorePlace(self._client, session, self.name, about, wanted=self.limit)
