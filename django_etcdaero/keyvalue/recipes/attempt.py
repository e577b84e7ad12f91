"""What one attempt of a transaction in memory has read and wants to write, and the decisions that follow from it.

Nothing here talks to a store. How a conflict is found:

* a key that was read must still have the mod revision it had (0: still not exist);
* a range that was read must have no key changed after the revision it was read at, which finds keys changed and keys
  added since; and each key that was in it must still have its mod revision, which finds those removed. A key that came
  and went in between has changed nothing;
* in addition, with ``SERIALIZABLE_SNAPSHOT``, a key that is written unread must not have been changed after the
  snapshot.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from django_etcdaero.exceptions import VersionConflict
from django_etcdaero.keyvalue.keys import FROM_KEY
from django_etcdaero.keyvalue.values import (
    Compare,
    CompareOp,
    CompareTarget,
    DeleteRequest,
    KeyValue,
    PutRequest,
    RangeRequest,
    RangeResult,
    TxnResult,
)

Span: TypeAlias = tuple[bytes, bytes]
"""A key with ``b""``, or a range."""


class Isolation(enum.Enum):
    """How much of what others do at the same time a transaction may see. The levels are those of etcd's Go client."""

    SERIALIZABLE_SNAPSHOT = "serializable snapshot"
    """All reads show one revision. Conflicts: what was read has changed, or what is written has, since then."""
    SERIALIZABLE = "serializable"
    """All reads show one revision. Conflicts: what was read has changed since then."""
    REPEATABLE_READ = "repeatable read"
    """Each read shows some committed state, and the same again when repeated; two keys may show different moments, but
    only for as long as the function runs. Conflicts: what was read has changed since."""
    READ_COMMITTED = "read committed"
    """Each read shows some committed state. There are no conflicts: what was read may have changed before the write."""


class Reading(NamedTuple):
    """What a span held as of a revision."""

    kvs: tuple[KeyValue, ...]
    revision: int


def covers(span: Span, key: bytes) -> bool:
    """Tell whether ``key`` is in ``span``."""
    start, end = span
    return key == start if not end else key >= start and (end == FROM_KEY or key < end)


class Attempt:
    """The state of one attempt."""

    def __init__(
        self, isolation: Isolation, prefetched: Mapping[Span, Reading] | None = None, *, revision: int = 0
    ) -> None:
        """``prefetched`` was read when the attempt before failed, all of it at ``revision``."""
        self.isolation = isolation
        self.outdated = False
        """True when this attempt cannot succeed any more, whatever its function does."""
        self._snapshot = isolation in (Isolation.SERIALIZABLE_SNAPSHOT, Isolation.SERIALIZABLE)
        self._revision = revision if self._snapshot else 0  # what all reads of a snapshot show; 0: not known yet
        self._repeated = prefetched is not None
        self._prefetched = dict(prefetched or {})
        self._reads: dict[Span, Reading] = {}
        self._writes: dict[bytes, PutRequest | DeleteRequest] = {}

    # reading ---------------------------------------------------------------------------------------------------------

    def known(self, span: Span) -> Reading | None:
        """Return what ``span`` held if this attempt need not ask the store for it."""
        if span in self._reads:
            return self._reads[span]
        key, end = span
        if not end:
            for other, reading in self._reads.items():
                if covers(other, key):
                    return Reading(tuple(kv for kv in reading.kvs if kv.key == key), reading.revision)
        if span in self._prefetched:
            return self._add(span, self._prefetched.pop(span))
        return None

    def request(self, span: Span) -> RangeRequest:
        """Return how to read ``span``.

        What a revision held is the same on every member, so a member may answer alone (it fails if it is not there
        yet). Below a snapshot any committed state will do, except after a conflict, which a late member would repeat.
        """
        key, end = span
        if self._snapshot:
            return RangeRequest(key, end, revision=self._revision, serializable=self._revision > 0)
        return RangeRequest(key, end, serializable=not self._repeated)

    def take(self, request: RangeRequest, result: RangeResult) -> Reading | None:
        """Note the answer to a request. ``None``: another read fixed the snapshot meanwhile, so it is to be repeated.

        Raises ``VersionConflict`` if it contradicts what was read before.
        """
        if self._snapshot:
            if not self._revision:
                self._revision = result.revision
            elif request.revision != self._revision:
                return None
            return self._add((request.key, request.range_end), Reading(result.kvs, self._revision))
        return self._add((request.key, request.range_end), Reading(result.kvs, result.revision))

    def _add(self, span: Span, reading: Reading) -> Reading:
        if self.isolation is Isolation.REPEATABLE_READ and self._contradicts(span, reading):
            self.outdated = True
            raise VersionConflict(f"what was read under {span[0]!r} has changed meanwhile")
        self._reads[span] = reading
        return reading

    def _contradicts(self, span: Span, reading: Reading) -> bool:
        now = {kv.key: kv.mod_revision for kv in reading.kvs}
        for other, earlier in self._reads.items():
            then = {kv.key: kv.mod_revision for kv in earlier.kvs}
            keys = {*now, *then, *(start for start, end in (span, other) if not end)}
            if any(now.get(key, 0) != then.get(key, 0) for key in keys if covers(span, key) and covers(other, key)):
                return True
        return False

    # writing ---------------------------------------------------------------------------------------------------------

    def write(self, request: PutRequest | DeleteRequest) -> None:
        """Note that a key is to be put or deleted; the last word on a key counts."""
        self._writes.pop(request.key, None)
        self._writes[request.key] = request

    def written(self, key: bytes) -> PutRequest | DeleteRequest | None:
        """Return what is to happen to ``key``, ``None`` if nothing is."""
        return self._writes.get(key)

    def overlay(self, span: Span, kvs: Iterable[KeyValue]) -> dict[bytes, bytes]:
        """Return the keys of ``span`` with their values, in order, as they are once the writes are done."""
        found = {kv.key: kv.value for kv in kvs}
        for key, request in self._writes.items():
            if isinstance(request, PutRequest) and covers(span, key):
                found[key] = request.value
            else:
                found.pop(key, None)
        return dict(sorted(found.items()))

    # the end ---------------------------------------------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        """True when nothing is to be asked of the store: nothing is written, and what was read belongs together."""
        return not self._writes and (self.isolation is not Isolation.REPEATABLE_READ or len(self._reads) < 2)

    def writes(self) -> list[PutRequest | DeleteRequest]:
        """Return what is to be written."""
        return list(self._writes.values())

    def compares(self) -> list[Compare]:
        """Return the conditions under which there is no conflict."""
        if self.isolation is Isolation.READ_COMMITTED:
            return []
        found: dict[Compare, None] = {}
        for (start, end), reading in self._reads.items():
            if end:
                found[_unchanged_since(reading.revision, start, end)] = None
            elif not reading.kvs:
                found[Compare(start, CompareTarget.MOD, CompareOp.EQUAL, 0)] = None
            for kv in reading.kvs:
                found[Compare(kv.key, CompareTarget.MOD, CompareOp.EQUAL, kv.mod_revision)] = None
        if self.isolation is Isolation.SERIALIZABLE_SNAPSHOT and self._revision:
            for key in self._writes:
                if not any(covers(span, key) for span in self._reads):
                    found[_unchanged_since(self._revision, key)] = None
        return list(found)

    def prefetch(self) -> list[RangeRequest]:
        """Return the reads that the next attempt is likely to repeat."""
        if self.isolation is Isolation.READ_COMMITTED:
            return []
        return [RangeRequest(start, end) for start, end in self._reads]

    def next(self, failed: TxnResult | None) -> Attempt:
        """Return the attempt after this one; ``failed`` is the answer that told of a conflict, if it is still fresh."""
        if failed is None:
            return Attempt(self.isolation, {})
        prefetched = {
            span: Reading(result.kvs, failed.revision)
            for span, result in zip(self._reads, failed.responses, strict=True)
            if isinstance(result, RangeResult)
        }
        return Attempt(self.isolation, prefetched, revision=failed.revision)


def _unchanged_since(revision: int, key: bytes, range_end: bytes = b"") -> Compare:
    return Compare(key, CompareTarget.MOD, CompareOp.LESS, revision + 1, range_end)
