"""Which watches of a client run, and what for: every one that is opened, by whatever part of the client.

A process tells them to others (:mod:`django_etcdaero.datasets.state.watching`). Nothing here asks a store, and nothing
takes a lock: watches are opened, fed and ended by any thread, in event loops and in signal handlers too.
"""

from __future__ import annotations

import enum
import itertools
import time
from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakValueDictionary

from django_etcdaero.keyvalue.values import PromptSink, WatchBatch, WatchHandle, WatchRequest, WatchSink


class Use(enum.StrEnum):
    """What a watch is for."""

    WATCH = "watch"
    """Somebody follows changes: :meth:`KV.watch() <django_etcdaero.keyvalue.facade.KV.watch>`."""
    OBJECTS = "objects"
    """Somebody follows objects."""
    MIRROR = "mirror"
    OBSERVER = "observer"
    """Somebody observes an election."""
    CHANGE = "change"
    """Somebody waits for a change of a key, or for a value."""
    LOCK = "lock"
    """Somebody waits for a lock. So with what follows."""
    SEMAPHORE = "semaphore"
    READ_LOCK = "read lock"
    WRITE_LOCK = "write lock"
    ELECTION = "election"
    PLACE = "place"
    """A place in a queue is looked after, of who has its turn or waits for it."""
    KEY = "key"
    """A temporary key or object is looked after."""


class OpenWatch(NamedTuple):
    """A watch that runs, as others may see it."""

    key: bytes
    """Relative to the prefix of the client that was asked for its watches."""
    range_end: bytes
    since: float
    """Seconds since the epoch."""
    revision: int
    """Up to which it has come, as far as events have told; 0: none has."""
    events: int
    """How many have come in."""
    use: Use = Use.WATCH
    name: bytes = b""
    """Of what is waited for or observed, relative to the prefix of the client; empty: it has none but its keys."""


class Followed:
    """What somebody follows, by one watch of the engine after the other: what there is to tell of all of them."""

    __slots__ = ("events", "name", "revision", "since", "use")

    def __init__(self, use: Use, name: bytes = b"", *, since: float | None = None) -> None:
        """``name``: as in :class:`OpenWatch`, of the client that watches. ``since``: seconds since the epoch."""
        self.use = use
        self.name = name
        self.since = time.time() if since is None else since
        self.revision = 0
        self.events = 0


class _Running(WatchHandle):
    """One watch of the engine: what its caller has in hand, and the sink that its batches pass on their way."""

    def __init__(
        self, watches: OpenWatches, prefix: bytes, request: WatchRequest, sink: WatchSink, followed: Followed
    ) -> None:
        self.handle: WatchHandle | None = None
        """The engine's."""
        self.number = next(watches.numbers)
        self.followed = followed
        self._watches = watches
        self._prefix = prefix
        self._key, self._end = request.key, request.range_end
        self._sink = sink

    def __call__(self, batch: WatchBatch) -> None:
        if batch.events:
            self.followed.events += len(batch.events)
            self.followed.revision = batch.revision
        if batch.lost is not None:
            self._watches.forget(self)
        self._sink(batch)

    def cancel(self) -> None:
        self._watches.forget(self)
        if self.handle is not None:
            self.handle.cancel()

    def told(self, prefix: bytes) -> OpenWatch | None:
        """Return the watch as one of the client with this prefix; ``None``: it is none."""
        key, end, followed = self._key, self._end, self.followed
        if not key.startswith(prefix):
            return None
        end = end.removeprefix(prefix) if end.startswith(prefix) else b"\0" if end else b""
        name = followed.name and (self._prefix + followed.name).removeprefix(prefix)
        key = key.removeprefix(prefix)
        return OpenWatch(key, end, followed.since, followed.revision, followed.events, followed.use, name)


class _PromptRunning(_Running, PromptSink):
    """One whose sink may be called from the thread that reads the connection."""


class OpenWatches:
    """The watches of a client and of all namespaces made from it. Keeps none of them alive."""

    def __init__(self) -> None:
        self.on_open: Callable[[], object] | None = None
        """Called with nothing whenever a watch was opened, by the thread that did it: must be quick and never raise."""
        self.numbers = itertools.count()
        # Set, popped and listed by single steps of the interpreter: what iterates over it would need a lock.
        self._running: WeakValueDictionary[int, _Running] = WeakValueDictionary()

    def begin(self, prefix: bytes, request: WatchRequest, sink: WatchSink, followed: Followed) -> _Running:
        """Return the watch that is about to be opened, which is the sink for it.

        ``prefix`` is that of the client that watches, ``request`` has it already.
        """
        kind = _PromptRunning if isinstance(sink, PromptSink) else _Running
        running = kind(self, prefix, request, sink, followed)
        followed.revision = max(followed.revision, request.start_revision - 1)
        self._running[running.number] = running
        return running

    def opened(self) -> None:
        """Be told that the store has accepted a watch."""
        if self.on_open is not None:
            self.on_open()

    def forget(self, running: _Running) -> None:
        """Be told that a watch has ended. Idempotent."""
        self._running.pop(running.number, None)

    def any(self) -> bool:
        """Tell whether there is one."""
        return bool(self._running)

    def told(self, prefix: bytes) -> list[OpenWatch]:
        """Return those under a prefix, the oldest first."""
        running = (each() for each in self._running.valuerefs())
        found = (each.told(prefix) for each in running if each is not None)
        return sorted((each for each in found if each is not None), key=lambda each: each.since)
