"""What this process knows of a key that should be in the store: whether it is there, and its own.

Two sources tell: the answers to one's own writes, and a watch of the key. Both name a revision of the store, and the
newer one is right, in whatever order they come.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from django_etcdaero.keyvalue.client.background import logger
from django_etcdaero.keyvalue.values import Event, EventType, KeyValue, WatchBatch, WatchHandle, WatchLost, WatchRequest

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.facade import KV


class Whereabouts:
    """Follows one key, from the first :meth:`watch` to :meth:`end`."""

    def __init__(
        self,
        kv: KV,
        key: bytes,
        label: str,
        *,
        own: Callable[[KeyValue], bool],
        lost: Callable[[str], object],
        wake: Callable[[], object],
    ) -> None:
        """``own(found)`` tells whether a key as it was found is one's own.

        ``lost(why)`` is called when the watch saw that it is not (any more), ``wake()`` when there is something to be
        done: the key does not exist, or nobody watches it any more. ``label`` names the key in messages.
        """
        self.placed = False
        """The key is in the store and one's own."""
        self.doubted = False
        """That may not be so any more."""
        self._kv = kv
        self._key = key
        self._label = label
        self._own = own
        self._lost = lost
        self._wake = wake
        self._mutex = threading.Lock()
        self._revision = 0  # of the store, when it was as noted
        self._watch: WatchHandle | None = None
        self._watches = 0
        self._ended = False

    def look(self) -> None:
        """The key is about to be read: there is no doubt any more, until the next one."""
        with self._mutex:
            self.doubted = False
            if self._watch is None:
                self._revision = 0  # no watch knows anything newer, and the store may begin anew at revision 1

    def note(self, revision: int, *, placed: bool) -> bool:
        """Note how things stood at a revision of the store. False: something newer is known already."""
        with self._mutex:
            if revision < self._revision:
                return False
            self._revision = revision
            self.placed = placed
            return True

    def watch(self, *, timeout: float) -> None:
        """See to it that the key is watched from what is known on; ``timeout`` (seconds) is for starting that."""
        with self._mutex:
            if self._watch is not None:
                return
            self._watches += 1
            number = self._watches
            request = WatchRequest(self._key, start_revision=self._revision + 1)
        handle = self._kv.watch_raw(request, lambda batch: self._see(number, batch), timeout=timeout)
        with self._mutex:
            if number == self._watches and not self._ended:
                self._watch = handle
                return
        handle.cancel()

    def end(self) -> None:
        """Watch the key no more, now and later. Idempotent."""
        with self._mutex:
            self._ended = True
            watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()

    def _see(self, number: int, batch: WatchBatch) -> None:
        """Sink of the watch."""
        if number != self._watches or self._ended:
            return
        for event in batch.events:
            self._see_event(event)
        if batch.lost in (WatchLost.COMPACTED, WatchLost.RESET):
            with self._mutex:
                self._watches += 1
                self._watch = None
                self.doubted = True
            self._wake()
        elif batch.lost is WatchLost.REFUSED:
            logger.warning("temporary key %r is tended by its lease only: the watch was refused", self._label)

    def _see_event(self, event: Event) -> None:
        gone = event.type is EventType.DELETE
        own = not gone and self._own(event.kv)
        if not self.note(event.kv.mod_revision, placed=own) or own:
            return
        self._lost("it was deleted" if gone else "somebody else has it")
        if gone:
            self._wake()
