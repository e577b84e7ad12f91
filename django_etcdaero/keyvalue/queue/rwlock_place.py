"""The places of readers and writers in the queue for a read/write lock.

Readers and writers stand in one order, that of the revisions at which their keys were created (the layout is in
:mod:`django_etcdaero.keyvalue.queue.layout`). A writer waits for everybody before it; a reader for the writers before
it only. So readers who come together read together, nobody overtakes a writer who waits, and a writer lets all readers
go that came before the next writer.

Each waits for the DELETION of the last one who is in its way, then looks again. A departing writer wakes all readers
behind it, a departing reader at most one writer.

Keys are never written again, so their order is also that of the modifications, by which etcd's Go client tells it.
"""

from __future__ import annotations

from collections.abc import Iterable

from django_etcdaero.keyvalue.arguments import end_of
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.open_watches import Use
from django_etcdaero.keyvalue.client.session import Session
from django_etcdaero.keyvalue.client.steps import Read, seconds_left
from django_etcdaero.keyvalue.ops import get
from django_etcdaero.keyvalue.values import KeyValue, WatchRequest
from django_etcdaero.system.clocks import monotonic

from .layout import READ, WRITE, departure, label, side, sides, up_to
from .place import Place


class WritePlace(Place):
    """The place of one who wants to write."""

    role = WRITE
    use = Use.WRITE_LOCK

    def __init__(self, client: Client, session: Session, name: bytes, value: bytes) -> None:
        """``name`` is that of the read/write lock."""
        super().__init__(client, session, side(name, self.role), value)
        self.label = label(name)
        self.whole = self.line = name

    def contenders(self, kvs: Iterable[KeyValue]) -> list[KeyValue]:
        return sides(self.whole, kvs)


class ReadPlace(WritePlace):
    """The place of one who wants to read."""

    role = READ
    use = Use.READ_LOCK

    def __init__(self, client: Client, session: Session, name: bytes, value: bytes) -> None:
        super().__init__(client, session, name, value)
        self.line = side(name, WRITE)

    async def _in_the_way(self, timeout: float) -> tuple[WatchRequest, ...]:
        end = end_of(timeout) or monotonic()
        for limit in (1, 0):  # the last writer before; all of them if that is none
            result = await Read(self._client, up_to(self.line, self.token - 1, limit=limit), seconds_left(end))
            ahead = self.contenders(result.kvs)
            if ahead or not result.kvs:
                break
        # The own key is read after that: if it is there still it was so when nobody was in its way.
        own = await Read(self._client, get(self.key, keys_only=True), seconds_left(end))
        self._see(own.kvs, own.revision)
        return tuple(departure(kv.key, result.revision) for kv in ahead[:1])
