"""The methods of a collection for asyncio: the same operations as in :mod:`.collection`, run by the event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from django_etcdaero.keyvalue.recipes.contention import MAX_ATTEMPTS
from django_etcdaero.system.steps import adrive

from . import writing
from .fields import Fields, Selection
from .following import follow
from .layout import Layout
from .leased import LeasedObject
from .listing import OrderBy, list_objects
from .stored import Listing, Stored
from .timed_steps import TimedSteps
from .watch import AsyncObjectWatch

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.client.client import Client

T = TypeVar("T")


class AsyncCollection(Generic[T]):
    """Arguments, results and errors are those of the method without the ``a``."""

    client: Client
    layout: Layout[T]

    async def acreate(self, name: str, value: T, *, ttl: int | None = None, timeout: float | None = None) -> Stored[T]:
        """Store an object under a new name."""
        return await adrive(writing.create(TimedSteps(self.client, timeout), self.layout, name, value, ttl=ttl))

    async def aget(self, name: str, *, timeout: float | None = None) -> Stored[T]:
        """Return an object."""
        return await adrive(writing.get(TimedSteps(self.client, timeout), self.layout, name))

    async def afind(self, name: str, *, timeout: float | None = None) -> Stored[T] | None:
        """Return an object, ``None`` if there is none of that name."""
        return await adrive(writing.find(TimedSteps(self.client, timeout), self.layout, name))

    async def aexists(self, name: str, *, timeout: float | None = None) -> bool:
        """Tell whether there is something of that name."""
        return await adrive(writing.exists(TimedSteps(self.client, timeout), self.layout, name))

    async def aupdate(
        self,
        name: str,
        value: T,
        *,
        version: int | None = None,
        ttl: int | None = None,
        timeout: float | None = None,
    ) -> Stored[T]:
        """Replace an object, only if it still has ``version``."""
        return await adrive(
            writing.update(TimedSteps(self.client, timeout), self.layout, name, value, version=version, ttl=ttl)
        )

    async def aput(self, name: str, value: T, *, ttl: int | None = None, timeout: float | None = None) -> Stored[T]:
        """Store an object whether there is one of that name or not."""
        return await adrive(writing.put(TimedSteps(self.client, timeout), self.layout, name, value, ttl=ttl))

    async def adelete(self, name: str, *, version: int | None = None, timeout: float | None = None) -> Stored[T]:
        """Delete an object, only if it still has ``version``; return what it was."""
        return await adrive(writing.delete(TimedSteps(self.client, timeout), self.layout, name, version=version))

    async def adiscard(self, name: str, *, timeout: float | None = None) -> bool:
        """Delete what is stored under a name, if there is anything; return whether there was."""
        return bool(await adrive(writing.delete_span(TimedSteps(self.client, timeout), self.layout.key(name), b"")))

    async def aconsistent_update(
        self,
        name: str,
        function: Callable[[T], T | Awaitable[T]],
        *,
        max_attempts: int = MAX_ATTEMPTS,
        timeout: float | None = None,
    ) -> Stored[T]:
        """Replace an object by ``function(object)``; here it may be a coroutine function."""
        operation = writing.consistent_update(
            TimedSteps(self.client, timeout), self.layout, name, function, max_attempts=max_attempts
        )
        return await adrive(operation)

    async def aleased(
        self, name: str, value: T, *, ttl: int = 10, replace: bool = False, timeout: float | None = None
    ) -> LeasedObject:
        """Store an object that is there for as long as this process keeps it."""
        leased = LeasedObject(self.client, self.layout, name, value, ttl=ttl)
        await adrive(leased.create(replace=replace, timeout=timeout))
        return leased

    async def alist(
        self,
        *,
        under: str | None = None,
        where: Callable[[T], object] | None = None,
        fields: Fields | None = None,
        labels: Mapping[str, str] | None = None,
        order_by: OrderBy = "name",
        limit: int = 0,
        offset: int = 0,
        revision: int = 0,
        skip_invalid: bool = False,
        timeout: float | None = None,
    ) -> Listing[T]:
        """Return objects as they were at one moment."""
        operation = list_objects(
            TimedSteps(self.client, timeout),
            self.layout,
            Selection(where, fields, labels),
            under=under,
            order_by=order_by,
            limit=limit,
            offset=offset,
            revision=revision,
            skip_invalid=skip_invalid,
        )
        return await adrive(operation)

    async def adelete_under(self, prefix: str, *, timeout: float | None = None) -> int:
        """Delete everything whose name begins with ``prefix`` and ``/``; return how much it was."""
        return await adrive(writing.delete_span(TimedSteps(self.client, timeout), *self.layout.span(prefix)))

    async def adelete_all(self, *, timeout: float | None = None) -> int:
        """Delete everything in the collection; return how much it was."""
        return await adrive(writing.delete_span(TimedSteps(self.client, timeout), *self.layout.span(None)))

    def awatch(
        self,
        name: str | None = None,
        *,
        under: str | None = None,
        since: int | None = 0,
        where: Callable[[T], object] | None = None,
        fields: Fields | None = None,
        labels: Mapping[str, str] | None = None,
        changed: Sequence[str] = (),
        max_pending: int = 1024,
        timeout: float | None = None,
    ) -> AsyncObjectWatch[T]:
        """Follow one object, those ``under`` a prefix, or all: ``async with orders.awatch() as events``."""
        following = follow(self.layout, name, under, since, Selection(where, fields, labels), changed)
        return AsyncObjectWatch(self.client, following, max_pending=max_pending, timeout=timeout)
