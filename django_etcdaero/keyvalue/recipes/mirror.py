"""A live copy of a prefix in memory: reading it asks no store.

The copy begins with a snapshot and follows the changes after it, each once and in order. It changes in whole revisions:
what one transaction has written is seen together. Where events are missing (the history was compacted, the store was
replaced, too much piled up) a new snapshot takes the place of the copy, and callbacks hear of the difference. While the
store is away the copy stays as it is and goes on by itself afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Self, TypeVar, overload

from django_etcdaero.exceptions import Cancelled, DeadlineExceeded
from django_etcdaero.keyvalue.arguments import check_function, end_of
from django_etcdaero.keyvalue.client.background import logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.feed import Feed, WatchItem
from django_etcdaero.keyvalue.client.open_watches import Followed, Use
from django_etcdaero.keyvalue.client.steps import Changes, Until
from django_etcdaero.keyvalue.keys import Text, to_bytes
from django_etcdaero.keyvalue.ops import watch
from django_etcdaero.keyvalue.values import KeyValue
from django_etcdaero.system.acting import acts
from django_etcdaero.system.blocking import refuse_in_event_loop
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.steps import Apply, adrive, drive
from django_etcdaero.system.twins import twins

from .mirrored import Change as Change
from .mirrored import Copy, Reading

T = TypeVar("T")

_getpid = os.getpid
_MAX_PENDING = 10_000
"""Events that may pile up while a callback takes its time; more than that is a new snapshot."""


class _Following:
    """What the client keeps of a mirror, which is itself compared by its values as any mapping is."""

    def __init__(self, mirror: Mirror[Any]) -> None:
        self._mirror = mirror

    @property
    def closed(self) -> bool:
        return self._mirror.closed

    def cancel(self) -> None:
        self._mirror.close()


class Mirror(Mapping[str, T]):
    """A mapping of the keys below a prefix, without it, to their values; made with
    :meth:`KV.mirror() <django_etcdaero.keyvalue.facade.KV.mirror>`.

    Safe to share between threads. Iterating goes over the copy of the moment at which it began. Reading raises
    ``Cancelled`` after the mirror or its client was closed and in the child of a fork, and ``PermissionDenied`` if the
    store refuses the watch: a mirror never goes on serving what it does not follow any more.
    """

    def __init__(
        self, client: Client, prefix: Text, read: Callable[[KeyValue], T], *, wanted: Callable[[KeyValue], bool]
    ) -> None:
        """``read(kv)`` makes the value of a key; keys that are not ``wanted`` are as if they were not there."""
        self._prefix = to_bytes(prefix, name="prefix")
        self._client = client
        self._reading = Reading(self._prefix, read, wanted=wanted)
        self._pid = _getpid()
        self._callbacks: list[Callable[[Change[T]], object]] = []
        self._changes = Changes()
        self._scheduled = False
        self._following = _Following(self)
        self._copy: Copy[T] = Copy({}, 0, {})
        request = watch(self._prefix, prefix=True)
        self._feed = Feed(client, request, Followed(Use.MIRROR), max_pending=_MAX_PENDING, wake=self._schedule)

    @acts
    async def begin(self, *, timeout: float | None) -> None:
        """Start, once; for who makes it. A protocol. ``timeout``: seconds for each call."""
        try:
            found, revision = await self._feed.snapshot(timeout)
            self._copy = self._reading.snapshot(found, revision, self._copy)
            await self._feed.start(after=revision, timeout=timeout)
        except BaseException:
            self._feed.end(None)
            raise
        self._client.life.keep_watch(self._following, alive=True)

    # reading ---------------------------------------------------------------------------------------------------------

    def __getitem__(self, key: str) -> T:
        return self._now().values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now().values)

    def __len__(self) -> int:
        return len(self._now().values)

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self._copy.values)} keys, revision {self._copy.revision}"
        return f"<Mirror of {self._prefix!r}: {state}>"

    def copy(self) -> Mapping[str, T]:
        """Return the values at one revision: a mapping that stays as it is while the mirror goes on."""
        return MappingProxyType(dict(self._now().values))

    @property
    def revision(self) -> int:
        """The newest revision that the copy knows of: of the snapshot, or of the last change below the prefix."""
        return self._now().revision

    @property
    def errors(self) -> Mapping[str, Exception]:
        """Why the values of some keys could not be read; such a key keeps the value that it had before, if any."""
        return MappingProxyType(dict(self._now().errors))

    @property
    def closed(self) -> bool:
        """True when it follows nothing any more."""
        return self._feed.ended or self._pid != _getpid()

    def _now(self) -> Copy[T]:
        if self._feed.ended or self._pid != _getpid():
            raise self._feed.error or Cancelled(
                f"the mirror of {self._prefix!r} follows nothing any more: make a new one"
            )
        return self._copy

    # following -------------------------------------------------------------------------------------------------------

    def on_change(self, callback: Callable[[Change[T]], object]) -> Mapping[str, T]:
        """Call ``callback(change)`` for each change of a key from now on, in order, when the copy has it already.

        Return the values that it starts from: the first change that it is told is the first one after them. Where
        events were missing it is called for the difference that the snapshot makes. Callbacks of a client share one
        thread, so none may block. An error is logged.
        """
        check_function("callback", callback)
        with self._changes.lock:
            self._callbacks.append(callback)
            return MappingProxyType(dict(self._now().values))

    async def _wait_for(self, predicate: Callable[[Mapping[str, T]], Any], *, timeout: float | None = None) -> Any:
        """Wait until ``predicate(mirror)`` is true, at most ``timeout`` seconds (``None``: without end); return it.

        It is called again after each change. To see a write of one's own: ``lambda m: m.revision >= result.revision``
        with what ``put()`` has returned. Raises ``DeadlineExceeded``, what reading raises, and what the function does.
        """
        limit = end_of(timeout)
        check_function("predicate", predicate, may_be_awaited=True)
        while True:
            seen = self._now()
            answer = await Apply(predicate, self)
            if answer:
                return answer
            left = None if limit is None else max(0.0, limit - monotonic())
            if not await Until(self._changes, lambda seen=seen: self._copy is not seen or self.closed, left):  # type: ignore[misc]
                raise DeadlineExceeded(f"the mirror of {self._prefix!r} did not come to what was waited for in time")

    wait_for, await_for = twins(_wait_for)

    @acts
    def close(self) -> None:
        """Follow nothing any more. Idempotent."""
        if self._pid == _getpid():
            self._feed.end(None)
            self._client.life.forget_watch(self._following)
            self._tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    # inside ----------------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        with self._feed.changed.lock:
            if self._scheduled:
                return
            self._scheduled = True
        self._client.callbacks.submit(self._dispatch)

    def _dispatch(self) -> float | None:
        """Take all that has come, which are whole revisions, and make it the copy."""
        feed, items = self._feed, list[WatchItem]()
        while True:
            with feed.changed.lock:
                if not feed.has_work or feed.ended:
                    self._scheduled = False
                    break
            item, delay = drive(feed.take(timeout=None))
            if delay:
                self._take_over(items)
                return delay
            if item is not None:
                items.append(item)
        self._take_over(items)
        if feed.ended:
            self._client.life.forget_watch(self._following)
            if feed.error is not None:
                logger.error("the mirror of %r ended: %s", self._prefix, feed.error)
            self._tell()
        return None

    def _take_over(self, items: list[WatchItem]) -> None:
        if not items:
            return
        try:
            copy, changes = self._reading.follow(self._copy, items)
        except BaseException:  # a function of the user's that raises SystemExit: never serve what is not followed
            self.close()
            raise
        with self._changes.lock:
            self._copy = copy
            callbacks = tuple(self._callbacks)
            self._changes.notify_all()
        for change in changes:
            for callback in callbacks:
                try:
                    callback(change)
                except BaseException:  # SystemExit too ends nothing that others use
                    logger.exception("a callback of the mirror of %r failed", self._prefix)

    def _tell(self) -> None:
        with self._changes.lock:
            self._changes.notify_all()


@overload
def mirror(client: Client, prefix: Text, *, decode: None = None, timeout: float | None = None) -> Mirror[bytes]: ...
@overload
def mirror(
    client: Client, prefix: Text, *, decode: Callable[[bytes], T], timeout: float | None = None
) -> Mirror[T]: ...
def mirror(
    client: Client, prefix: Text, *, decode: Callable[[bytes], Any] | None = None, timeout: float | None = None
) -> Mirror[Any]:
    """Return a live copy of the keys below ``prefix``, complete when this returns.

    ``decode(value)`` makes of the bytes what the mirror serves (``json.loads``, ``bytes.decode``); without it that is
    the bytes. ``timeout`` (seconds) is for each call to the store. Raises what :meth:`range` and :meth:`watch` raise.
    """
    refuse_in_event_loop("mirror()", "await amirror(…)")
    return drive(make(client, prefix, _reader(decode), timeout=timeout))


@overload
async def amirror(
    client: Client, prefix: Text, *, decode: None = None, timeout: float | None = None
) -> Mirror[bytes]: ...
@overload
async def amirror(
    client: Client, prefix: Text, *, decode: Callable[[bytes], T], timeout: float | None = None
) -> Mirror[T]: ...
async def amirror(
    client: Client, prefix: Text, *, decode: Callable[[bytes], Any] | None = None, timeout: float | None = None
) -> Mirror[Any]:
    """Do what :meth:`mirror` does without blocking the event loop. Reading a mirror never blocks."""
    return await adrive(make(client, prefix, _reader(decode), timeout=timeout))


def _reader(decode: Callable[[bytes], Any] | None) -> Callable[[KeyValue], Any]:
    """Return what makes the value of a key."""
    if decode is None:
        return lambda kv: kv.value
    check_function("decode", decode)
    return lambda kv: decode(kv.value)


async def make(
    client: Client,
    prefix: Text,
    read: Callable[[KeyValue], T],
    *,
    wanted: Callable[[KeyValue], bool] = lambda kv: True,
    timeout: float | None,
) -> Mirror[T]:
    """Return a mirror of the keys that are ``wanted``, whose values are made by ``read(kv)``. A protocol."""
    made = Mirror(client, prefix, read, wanted=wanted)
    await made.begin(timeout=timeout)
    return made
