"""One watch: what it wants, and how far it has got."""

from __future__ import annotations

from collections.abc import Sequence

from django_etcdaero.keyvalue.delivery import Delivery
from django_etcdaero.keyvalue.values import Event, EventType, WatchBatch, WatchLost, WatchRequest, WatchSink
from django_etcdaero.system.sqlite.path import Identity

from .changes import Change


class EmbeddedWatch(Delivery):
    """A running watch; its hub alone moves it forward and calls its sink."""

    def __init__(self, request: WatchRequest, sink: WatchSink, seen_revision: int, identity: Identity | None) -> None:
        super().__init__(request, sink)
        self.key = request.key or b"\0"
        self.range_end = request.range_end
        self.seen_revision = seen_revision
        """The store's revision when the watch was asked for."""
        self.identity = identity
        """The file that it was asked of."""
        self.next_revision = request.start_revision if request.start_revision > 0 else seen_revision + 1
        """First revision not delivered yet."""
        self.quiet = True
        """Nothing was delivered since the last progress mark."""

    def wants(self, key: bytes) -> bool:
        """Tell whether ``key`` is in the range of the watch."""
        if not self.range_end:
            return key == self.key
        return key >= self.key and (self.range_end == b"\0" or key < self.range_end)

    def advance(self, changes: Sequence[Change], upto: int) -> None:
        """Deliver the changes of its range from its next revision on; it has then got as far as ``upto``."""
        request, start = self.request, self.next_revision
        events: list[Event] = []
        for change in changes:
            event = change.event
            if event.kv.mod_revision < start:
                continue
            if request.no_put if event.type is EventType.PUT else request.no_delete:
                continue
            events.append(change.with_previous if request.prev_kv else event)
        if upto >= start:
            self.next_revision = upto + 1
        if events:
            self.quiet = False
            self.deliver(WatchBatch(tuple(events), upto))

    def mark_progress(self, revision: int) -> None:
        """Tell that everything up to ``revision`` was delivered, unless something was delivered since the last time."""
        if self.quiet and self.next_revision > revision:
            self.deliver(WatchBatch((), revision))
        self.quiet = True

    def lose(self, why: WatchLost, revision: int, compact_revision: int = 0) -> None:
        """End the watch and tell why; ``revision`` is the store's, ``compact_revision`` the oldest that it has."""
        self.deliver(WatchBatch((), revision, why, compact_revision))
