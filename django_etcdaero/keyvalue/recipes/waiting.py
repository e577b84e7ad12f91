"""Waiting until a key is as one wants it.

The key is read, and followed from the revision of that answer on, so that no change between the two is missed. While
the store is away the wait goes on. Where events are missing (a compaction, a store that was replaced) what there is now
is looked at in their place.
"""

from __future__ import annotations

from collections.abc import Callable

from django_etcdaero.exceptions import DeadlineExceeded, EtcdAeroError
from django_etcdaero.keyvalue.arguments import check_function, end_of
from django_etcdaero.keyvalue.client.background import TRANSIENT, backoff
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.open_watches import Use
from django_etcdaero.keyvalue.client.steps import Read
from django_etcdaero.keyvalue.client.watch import Resync, Watch, WatchItem
from django_etcdaero.keyvalue.keys import Text
from django_etcdaero.keyvalue.ops import get, watch
from django_etcdaero.keyvalue.values import Event, EventType, KeyValue
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.steps import Apply, Pause

_FIRST_LOOK = 0.1
"""Seconds that it may take at least, so that a patience of 0 asks how the key is now."""


async def wait_for(
    client: Client, key: Text, predicate: Callable[[bytes | None], object], *, timeout: float | None = None
) -> KeyValue | None:
    """Wait until ``predicate(value)`` is true, of the value of a key or ``None`` while there is no such key.

    Return the key as it is then, ``None`` if it does not exist; at once if it is so already. The function is called for
    each change, and must not block; where this is awaited it may be a coroutine function. ``timeout`` (seconds,
    ``None``: without end) is for the whole wait, in which the store may be away. Raises ``DeadlineExceeded``,
    ``Cancelled`` if the client or the store is closed, what else reading and watching raise, and what the function
    does.
    """
    check_function("predicate", predicate, may_be_awaited=True)
    reading, patience = get(key), _Patience(key, timeout)
    while True:
        try:
            result = await Read(client, reading, patience.left(least=_FIRST_LOOK))
        except TRANSIENT as error:
            await patience.pause(error)
            continue
        found = result.kvs[0] if result.kvs else None
        if await Apply(predicate, found and found.value):
            return found
        request = watch(key, start_revision=result.revision + 1)
        changes = Watch[WatchItem](
            client, request, max_pending=1024, resync=True, timeout=patience.left(), use=Use.CHANGE
        )
        try:
            await changes.begin()
        except TRANSIENT as error:
            await patience.pause(error)
            continue
        try:
            while True:
                found = _found(await patience.take(changes))
                if await Apply(predicate, found and found.value):
                    return found
        finally:
            changes.cancel()


def _found(item: WatchItem) -> KeyValue | None:
    """Return the key after a change."""
    if isinstance(item, Resync):
        return item.kvs[0] if item.kvs else None
    assert isinstance(item, Event)
    return item.kv if item.type is EventType.PUT else None


class _Patience:
    """How long it may still take."""

    def __init__(self, key: Text, timeout: float | None) -> None:
        self._key = key
        self._limit = end_of(timeout)
        self._failures = 0

    def left(self, *, least: float = 0.001) -> float | None:
        return None if self._limit is None else max(least, self._limit - monotonic())

    async def take(self, changes: Watch[WatchItem]) -> WatchItem:
        try:
            return await changes.take(self.left())
        except DeadlineExceeded as error:
            raise self._over() from error

    async def pause(self, error: EtcdAeroError) -> None:
        """Wait before the next try, unless there is no time for one."""
        self._failures += 1
        pause = backoff(self._failures)
        if self._limit is not None and monotonic() + pause >= self._limit:
            raise self._over() from error
        await Pause(pause)

    def _over(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"{self._key!r} did not come to what was waited for in time")
