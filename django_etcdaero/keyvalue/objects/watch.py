"""Watches of a collection: from the changes of keys to events of objects, for threads and for asyncio."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypedDict, TypeVar, Unpack

from django_etcdaero.exceptions import Cancelled, EventsLost, InvalidRequest
from django_etcdaero.keyvalue.arguments import check_count, check_flag, check_timeout, end_of, seconds_until
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.items import Items
from django_etcdaero.keyvalue.client.open_watches import Use
from django_etcdaero.keyvalue.client.watch import Resync, Watch, WatchItem
from django_etcdaero.keyvalue.keys import shown
from django_etcdaero.keyvalue.ops import watch
from django_etcdaero.keyvalue.recipes.contention import check_positive
from django_etcdaero.keyvalue.rooms import is_contender
from django_etcdaero.keyvalue.values import Event, EventType, KeyValue
from django_etcdaero.system.acting import acts

from .fields import Fields, Selection, changed, check_paths
from .layout import Layout
from .stored import Created, Deleted, Invalid, ObjectEvent, Resynced, Stored, Updated
from .timed_steps import TimedSteps

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Following(Generic[T]):
    """What is followed, from when on, and what of it is told."""

    layout: Layout[T]
    start: bytes
    end: bytes
    since: int | None
    selection: Selection[T]
    changed: tuple[str, ...] = ()
    """Paths; updates that change none of them are not told."""

    async def begin(self, steps: TimedSteps) -> tuple[tuple[KeyValue, ...], int]:
        """Return what exists, if it is to be told first, and the revision from which on changes are wanted."""
        if self.since is None:
            return (), 0
        if self.since:
            return (), self.since + 1
        found: list[KeyValue] = []

        def take(one: KeyValue) -> bool:
            found.append(one)
            return False

        revision = await steps.visit(self.start, self.end, revision=0, take=take)
        return tuple(found), revision + 1

    def existing(self, found: KeyValue) -> ObjectEvent[T] | None:
        """Return the event for what was there before the first change, if it is to be told."""
        if is_contender(found):
            return None
        read = self.layout.read_or_tell(found)
        if isinstance(read, Invalid):
            return read
        if not self.selection.matches(read.object):
            return None
        return Created(read) if read.is_new else Updated(read)

    def event(self, item: object) -> ObjectEvent[T] | None:
        """Return the event for an item of the watch of the keys; ``None`` if there is nothing to tell."""
        if isinstance(item, Resync):
            return self._resynced(item)
        if not isinstance(item, Event) or is_contender(item.kv):
            return None
        if item.type is EventType.DELETE and item.prev_kv is not None and is_contender(item.prev_kv):
            return None
        before = self._before(item.prev_kv)
        was = None if before is None else self.selection.matches(before.object)
        if item.type is EventType.DELETE:
            return None if was is False else Deleted(self.layout.name(item.kv.key), item.kv.mod_revision, before)
        read = self.layout.read_or_tell(item.kv)
        if isinstance(read, Invalid):
            return read
        if not self.selection.matches(read.object):
            # What it was may be forgotten: told once too often is better than a copy that keeps it for ever.
            return None if was is False or item.created else Deleted(read.name, read.version, before)
        if item.created or was is False:
            return Created(read)
        if self.changed and before is not None and not changed(before.object, read.object, self.changed):
            return None
        return Updated(read, before)

    def _before(self, previous: KeyValue | None) -> Stored[T] | None:
        read = None if previous is None else self.layout.read_or_tell(previous)
        return None if isinstance(read, Invalid) else read

    def _resynced(self, item: Resync) -> Resynced[T]:
        read = [self.layout.read_or_tell(found) for found in item.kvs if not is_contender(found)]
        items = (each for each in read if isinstance(each, Stored) and self.selection.matches(each.object))
        invalid = (each for each in read if isinstance(each, Invalid))
        return Resynced(item.reason, tuple(items), item.revision, tuple(invalid), item.compact_revision)


class FollowOptions(TypedDict, Generic[T], total=False):
    """What is followed of a collection, and what of it is told."""

    under: str | None
    """Those whose names begin with it and ``/``."""
    since: int | None
    """0, which is the default: what there is, then every change. A version or revision: every change after it.
    ``None``: changes from now on."""
    where: Callable[[T], object] | None
    """Only the objects for which it is true."""
    fields: Fields | None
    """Only the objects that have these values."""
    labels: Mapping[str, str] | None
    """Only the objects that have these labels in their field ``labels``."""
    changed: Sequence[str]
    """Of the updates only those that change one of these fields."""


def follow(layout: Layout[T], name: str | None, **options: Unpack[FollowOptions[T]]) -> Following[T]:
    """Return what a watch of one object, those under a prefix or all follows. Raises ``InvalidRequest``."""
    if unknown := options.keys() - FollowOptions.__annotations__:
        raise TypeError(f"a watch of objects has no option {min(unknown)!r}")
    under, since = options.get("under"), options.get("since", 0)
    if name is not None and under is not None:
        raise InvalidRequest("name and under exclude each other")
    if since is not None:
        check_count("since", since)
    selection = Selection(options.get("where"), options.get("fields"), options.get("labels"))
    selection.check(layout.codec.fields)
    start, end = layout.span(under) if name is None else (layout.key(name), b"")
    paths = check_paths(options.get("changed", ()), layout.codec.fields, name="changed")
    return Following(layout, start, end, since, selection, paths)


# --- watches ---------------------------------------------------------------------------------------------------------


class ObjectWatch(Items["ObjectEvent[T]"], Generic[T]):
    """A running watch; made with
    :meth:`Collection.watch() <django_etcdaero.keyvalue.objects.collection.Collection.watch>`.

    Iterate over it, from one thread with ``for`` or from one task with ``async for``. It ends by :meth:`cancel`, with
    its ``with`` or ``async with`` block, or with the client. It runs from the moment it was made; where an event loop
    runs it is started by ``async with``.
    """

    def __init__(
        self, client: Client, following: Following[T], *, max_pending: int, resync: bool, timeout: float | None
    ) -> None:
        check_flag("resync", resync)
        check_timeout(timeout)
        check_positive("max_pending", max_pending)
        self._client = client
        self._resync = resync
        self._following = following
        self._max_pending = max_pending
        self._timeout = timeout
        self._existing: deque[KeyValue] = deque()
        self._watch: Watch[WatchItem] | None = None
        self._cancelled = False

    def __repr__(self) -> str:
        state = "" if not self.closed else " ended" if self._watch or self._cancelled else " not begun"
        return f"<ObjectWatch of {shown(self._following.start, self._following.end)}{state}>"

    @acts
    async def begin(self) -> None:
        """Start, if it was not started. For the parts of the client. Raises ``Cancelled`` if it has ended."""
        if self._watch is not None or self._cancelled:
            if self.closed:
                raise Cancelled("the watch has ended already; make another one")
            return
        following = self._following
        existing, revision = await following.begin(TimedSteps(self._client, self._timeout))
        request = watch(following.start, following.end or None, start_revision=revision, prev_kv=True)
        started = Watch[WatchItem](
            self._client,
            request,
            max_pending=self._max_pending,
            resync=True,
            timeout=self._timeout,
            use=Use.OBJECTS,
        )
        await started.begin()
        self._watch = started
        self._existing.extend(existing)

    async def take(self, timeout: float | None) -> ObjectEvent[T]:
        """Return the next event, waiting for it at most ``timeout`` seconds. Raises ``Cancelled`` after the end."""
        limit = end_of(timeout)
        while True:
            event = self._told()
            if event is None:
                if self._watch is None:
                    if self._cancelled:
                        raise Cancelled("the watch has ended")
                    raise InvalidRequest("a watch that was made where an event loop runs begins with 'async with'")
                event = self._following.event(await self._watch.take(seconds_until(limit)))
            if isinstance(event, Resynced) and not self._resync:
                raise _lost(event)
            if event is not None:
                return event

    @acts
    def cancel(self) -> None:
        """End the watch. Idempotent. What was not consumed yet is dropped; a waiting consumer wakes up."""
        self._existing.clear()
        self._cancelled = True
        if self._watch is not None:
            self._watch.cancel()

    def _told(self) -> ObjectEvent[T] | None:
        while self._existing:
            try:
                found = self._existing.popleft()
            except IndexError:  # the watch was cancelled by another thread
                return None
            event = self._following.existing(found)
            if event is not None:
                return event
        return None

    @property
    def closed(self) -> bool:
        """True when nothing more will come, or nothing yet: before its ``async with`` block."""
        return self._watch is None or self._watch.closed


def _lost(marker: Resynced[T]) -> EventsLost:
    count = len(marker.items)
    was = "one object that was" if count == 1 else f"{count} objects that were"
    return EventsLost(
        f"events up to revision {marker.revision} are missing ({marker.reason.value});"
        f" the snapshot has the {was} there then",
        reason=marker.reason,
        snapshot=marker.items,
        revision=marker.revision,
        compact_revision=marker.compact_revision,
        invalid=marker.invalid,
    )
