"""A live copy of a prefix in memory: reading it asks no store.

The copy begins with a snapshot and follows the changes after it, each once and in order. It changes in whole revisions:
what one transaction has written is seen together. Where events are missing (the history was compacted, the store was
replaced, too much piled up) a new snapshot takes the place of the copy, and callbacks hear of the difference. While the
store is away the copy stays as it is and goes on by itself afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, Self, TypeVar, overload

from django_etcdaero.exceptions import Cancelled, DeadlineExceeded
from django_etcdaero.keyvalue.arguments import check_function, end_of
from django_etcdaero.keyvalue.client.background import logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.feed import Feed, Progress, Resync, WatchItem
from django_etcdaero.keyvalue.client.steps import Changes, Until
from django_etcdaero.keyvalue.keys import Text, to_bytes
from django_etcdaero.keyvalue.txn import watch
from django_etcdaero.keyvalue.values import EventType, KeyValue
from django_etcdaero.system.acting import acts
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.steps import drive
from django_etcdaero.system.twins import twins

from .paging import Pages

T = TypeVar("T")

_getpid = os.getpid
_MAX_PENDING = 10_000
"""Events that may pile up while a callback takes its time; more than that is a new snapshot."""


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """A key of a mirror that has changed; ``None`` stands for no value."""

    key: str
    old: T | None
    new: T | None


@dataclass(frozen=True, slots=True)
class _Copy(Generic[T]):
    """The mirror at one revision. It never changes; the next one takes its place."""

    values: Mapping[str, T]
    revision: int
    errors: Mapping[str, Exception]


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
        self, client: Client, prefix: Text, read: Callable[[KeyValue], T], *, timeout: float | None = None
    ) -> None:
        """``read(kv)`` makes the value of a key. ``timeout``: seconds for each call of the start."""
        self._prefix = to_bytes(prefix, name="prefix")
        self._client = client
        self._read = read
        self._pid = _getpid()
        self._callbacks: list[Callable[[Change[T]], object]] = []
        self._changes = Changes()
        self._scheduled = False
        self._following = _Following(self)
        found: list[KeyValue] = []
        first = client.range(self._prefix, prefix=True, limit=1, keys_only=True, timeout=timeout)
        found.extend(Pages(client, self._prefix, None, prefix=True, revision=first.revision, timeout=timeout))
        self._copy: _Copy[T] = self._snapshot(found, first.revision, _Copy({}, 0, {}))
        request = watch(self._prefix, prefix=True, start_revision=first.revision + 1)
        self._feed = Feed(client, request, max_pending=_MAX_PENDING, wake=self._schedule)
        try:
            drive(self._feed.start(timeout=timeout))
        except BaseException:
            self._feed.end(None)
            raise
        client.life.keep_watch(self._following, alive=True)

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

    def _now(self) -> _Copy[T]:
        if self._feed.ended or self._pid != _getpid():
            raise self._feed.error or Cancelled(
                f"the mirror of {self._prefix!r} follows nothing any more: make a new one"
            )
        return self._copy

    # following -------------------------------------------------------------------------------------------------------

    def on_change(self, callback: Callable[[Change[T]], object]) -> None:
        """Call ``callback(change)`` for each key that changes from now on, when the copy has it already.

        Callbacks of a client share one thread, so none may block. An error is logged.
        """
        check_function("callback", callback)
        self._callbacks.append(callback)

    async def _wait_for(self, predicate: Callable[[Mapping[str, T]], Any], *, timeout: float | None = None) -> Any:
        """Wait until ``predicate(mirror)`` is true, at most ``timeout`` seconds (``None``: without end); return it.

        It is called again after each change. To see a write of one's own: ``lambda m: m.revision >= result.revision``
        with what ``put()`` has returned. Raises ``DeadlineExceeded``, what reading raises, and what the function does.
        """
        limit = end_of(timeout)
        check_function("predicate", predicate)
        while True:
            seen = self._now()
            answer = predicate(self)
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
        before = after = self._copy
        values, errors, revision = dict(before.values), dict(before.errors), before.revision
        for item in items:
            if isinstance(item, Resync):
                after = self._snapshot(item.kvs, item.revision, _Copy(values, revision, errors))
                values, errors, revision = dict(after.values), dict(after.errors), after.revision
            elif isinstance(item, Progress):
                revision = max(revision, item.revision)
            else:
                revision = item.kv.mod_revision
                if item.type is EventType.PUT:
                    self._put(item.kv, values, errors)
                else:
                    key = self._name(item.kv)
                    values.pop(key, None)
                    errors.pop(key, None)
        if not items:
            return
        self._copy = _Copy(values, revision, errors)
        self._tell()
        if self._callbacks:
            self._report(before.values, values)

    def _snapshot(self, kvs: Any, revision: int, before: _Copy[T]) -> _Copy[T]:
        values: dict[str, T] = {}
        errors: dict[str, Exception] = {}
        for kv in kvs:
            key = self._name(kv)
            if key in before.values:
                values[key] = before.values[key]  # stays if what is there now cannot be read
            self._put(kv, values, errors)
        return _Copy(values, revision, errors)

    def _put(self, kv: KeyValue, values: dict[str, T], errors: dict[str, Exception]) -> None:
        key = self._name(kv)
        try:
            values[key] = self._read(kv)
            errors.pop(key, None)
        except Exception as error:  # of a function of the user's, for a value that anybody may have written
            errors[key] = error
            kept = "its last value stays" if key in values else "the mirror has no value for it"
            logger.warning("the value of %r cannot be read, and %s: %s: %s", kv.key, kept, type(error).__name__, error)

    def _name(self, kv: KeyValue) -> str:
        return kv.key[len(self._prefix) :].decode(errors="surrogateescape")

    def _report(self, before: Mapping[str, T], after: Mapping[str, T]) -> None:
        for key in {**before, **after}:
            old, new = before.get(key), after.get(key)
            if (key in before) is (key in after) and old is new:
                continue
            for callback in tuple(self._callbacks):
                try:
                    callback(Change(key, old, new))
                except Exception:
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
    return Mirror(client, prefix, _reading(decode), timeout=timeout)


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
    below, read = to_bytes(prefix, name="prefix"), _reading(decode)

    def make(left: float) -> Mirror[Any]:
        return Mirror(client, below, read, timeout=left)

    return await client.open_engine().in_thread(make, timeout=timeout)


def _reading(decode: Callable[[bytes], Any] | None) -> Callable[[KeyValue], Any]:
    """Return what makes the value of a key."""
    if decode is None:
        return lambda kv: kv.value
    check_function("decode", decode)
    return lambda kv: decode(kv.value)
