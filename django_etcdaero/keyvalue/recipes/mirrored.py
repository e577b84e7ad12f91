"""What a mirror has at one revision, and what the items of a watch make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from django_etcdaero.keyvalue.client.background import logger
from django_etcdaero.keyvalue.client.feed import Progress, Resync, ResyncReason, WatchItem
from django_etcdaero.keyvalue.values import Event, EventType, KeyValue

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """A key of a mirror that has changed; ``None`` stands for no value."""

    key: str
    old: T | None
    new: T | None
    revision: int
    """At which it was changed; of a key that has gone while events were missing, that of the snapshot."""


@dataclass(frozen=True, slots=True)
class Copy(Generic[T]):
    """A prefix at one revision. It never changes; the next one takes its place."""

    values: Mapping[str, T]
    revision: int
    errors: Mapping[str, Exception]


class Reading(Generic[T]):
    """How copies are made of the keys below a prefix."""

    def __init__(self, prefix: bytes, read: Callable[[KeyValue], T], *, wanted: Callable[[KeyValue], bool]) -> None:
        """``read(kv)`` makes the value of a key; keys that are not ``wanted`` are as if they were not there."""
        self._prefix = prefix
        self._read = read
        self._wanted = wanted

    def snapshot(self, kvs: Iterable[KeyValue], revision: int, before: Copy[T]) -> Copy[T]:
        """Return the copy that these keys are; what has not changed since ``before`` is not read again."""
        values: dict[str, T] = {}
        errors: dict[str, Exception] = {}
        for kv in filter(self._wanted, kvs):
            key = self._name(kv)
            if key in before.values:
                values[key] = before.values[key]  # stays if what is there now cannot be read
                if kv.mod_revision <= before.revision and key not in before.errors:
                    continue
            self._put(kv, values, errors)
        return Copy(values, revision, errors)

    def follow(self, copy: Copy[T], items: Iterable[WatchItem]) -> tuple[Copy[T], list[Change[T]]]:
        """Return the copy after ``items``, which are whole revisions, and all that has changed, in order."""
        changes: list[Change[T]] = []
        values, errors, revision = dict(copy.values), dict(copy.errors), copy.revision
        for item in items:
            if isinstance(item, Resync):
                known = 0 if item.reason is ResyncReason.RESET else revision  # revisions of another store say nothing
                before = Copy(values, known, errors)
                after = self.snapshot(item.kvs, item.revision, before)
                changes += self._difference(before, after, item.kvs)
                values, errors, revision = dict(after.values), dict(after.errors), after.revision
            elif isinstance(item, Progress):
                revision = max(revision, item.revision)
            else:
                revision = item.kv.mod_revision
                changes += self._take(item, values, errors)
        return Copy(values, revision, errors), changes

    def _take(self, event: Event, values: dict[str, T], errors: dict[str, Exception]) -> Iterator[Change[T]]:
        key = self._name(event.kv)
        there, old = key in values, values.get(key)
        if event.type is EventType.PUT:
            there = self._wanted(event.kv) and self._put(event.kv, values, errors)
        else:
            values.pop(key, None)
            errors.pop(key, None)
        if there:
            yield Change(key, old, values.get(key), event.kv.mod_revision)

    def _difference(self, before: Copy[T], after: Copy[T], kvs: Iterable[KeyValue]) -> Iterator[Change[T]]:
        """Yield what a snapshot changes, in the order of the revisions; what has gone comes last."""
        for kv in sorted(kvs, key=lambda each: each.mod_revision):
            key = self._name(kv)
            if kv.mod_revision > before.revision and key in after.values and key not in after.errors:
                yield Change(key, before.values.get(key), after.values[key], kv.mod_revision)
        for key in sorted(before.values.keys() - after.values.keys()):
            yield Change(key, before.values[key], None, after.revision)

    def _put(self, kv: KeyValue, values: dict[str, T], errors: dict[str, Exception]) -> bool:
        """Take the value of a key; return whether it could be read."""
        key = self._name(kv)
        try:
            values[key] = self._read(kv)
        except Exception as error:  # of a function of the user's, for a value that anybody may have written
            errors[key] = error
            kept = "its last value stays" if key in values else "the mirror has no value for it"
            logger.warning("the value of %r cannot be read, and %s: %s: %s", kv.key, kept, type(error).__name__, error)
            return False
        errors.pop(key, None)
        return True

    def _name(self, kv: KeyValue) -> str:
        return kv.key[len(self._prefix) :].decode(errors="surrogateescape")
