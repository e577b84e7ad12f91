"""Following changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Unpack

from django_etcdaero.exceptions import Compacted
from django_etcdaero.keyvalue import txn as ops
from django_etcdaero.keyvalue.arguments import WatchOptions, end_of
from django_etcdaero.keyvalue.keys import Text
from django_etcdaero.keyvalue.values import Event
from django_etcdaero.system.twins import twins

from .scope import Scope
from .watch import AsyncWatch, Resync, Watch, WatchItem


class WatchCalls(Scope):
    """Methods of a :class:`~django_etcdaero.keyvalue.client.client.Client`. Those with an ``a`` are awaited."""

    def watch(
        self,
        key: Text,
        range_end: Text | None = None,
        *,
        max_pending: int = 1024,
        callback: Callable[[WatchItem], object] | None = None,
        timeout: float | None = None,
        **options: Unpack[WatchOptions],
    ) -> Watch:
        """Follow the changes of a key or a range; the range is given as for :meth:`range`.

        The options are those of :class:`~django_etcdaero.keyvalue.arguments.WatchOptions`: ``start_revision`` is the
        first revision wanted, 0 for what comes from now on (every change after this call has returned is seen). More
        than ``max_pending`` undelivered events are replaced by a snapshot. Items are
        :class:`~django_etcdaero.keyvalue.values.Event` and :class:`~django_etcdaero.keyvalue.client.watch.Resync`, with
        ``progress_notify`` also :class:`~django_etcdaero.keyvalue.client.watch.Progress`.

        With ``callback`` each item is given to ``callback(item)`` in the client's dispatcher thread, which all
        callbacks share: it should not block. Returning ``False`` ends the watch; an error is logged and does not.
        ``timeout`` is for starting the watch.
        """
        request = ops.watch(key, range_end, **options)
        return Watch(self, request, max_pending=max_pending, callback=callback, timeout=timeout)

    def awatch(
        self,
        key: Text,
        range_end: Text | None = None,
        *,
        max_pending: int = 1024,
        timeout: float | None = None,
        **options: Unpack[WatchOptions],
    ) -> AsyncWatch:
        """Return a watch for ``async with`` and ``async for``; the arguments are those of :meth:`watch`."""
        return AsyncWatch(self, ops.watch(key, range_end, **options), max_pending=max_pending, timeout=timeout)

    async def _wait_for_change(
        self,
        key: Text,
        range_end: Text | None = None,
        *,
        prefix: bool = False,
        start_revision: int = 0,
        timeout: float | None = None,
    ) -> Event:
        """Wait for one change of a key or a range, made after this call or from ``start_revision`` on; return it.

        ``timeout`` ``None`` waits as long as it takes. Raises ``DeadlineExceeded``; ``Compacted`` if the change may
        have been in history that the store has no more (compacted, or the store was replaced).
        """
        limit = end_of(timeout)
        request = ops.watch(key, range_end, prefix=prefix, start_revision=start_revision)
        watch = AsyncWatch(self, request, max_pending=1024, timeout=timeout)
        await watch.begin()
        try:
            item = await watch.take(None if limit is None else max(0.0, limit - time.monotonic()))
        finally:
            watch.cancel()
        if isinstance(item, Event):
            return item
        assert isinstance(item, Resync)
        raise Compacted(f"changes before revision {item.revision} cannot be had any more ({item.reason.value})")

    wait_for_change, await_for_change = twins(_wait_for_change)
