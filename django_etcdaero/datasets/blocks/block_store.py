"""The blocks, pages and roots of one dataset in the record store, addressed by digest.

A cluster that has lost a node refuses some writes until those that are left have agreed on who owns what. So that such
a moment does not cost a refresh that may have loaded for minutes, writes are repeated for a while. That is safe even
when it is not known whether they were applied: a record's name says what is in it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from django_etcdaero.datasets.layout import Layout
from django_etcdaero.datasets.state.announcement import Announcement, Copy
from django_etcdaero.exceptions import (
    ClusterError,
    DeadlineExceeded,
    KeyExists,
    OutcomeUnknown,
    ResponseError,
    VersionConflict,
)
from django_etcdaero.records.store import Meta, Record, RecordStore, batches
from django_etcdaero.system.clocks import monotonic

BATCH = 512
"""Records in one call to the store: about 1 to 2 MB, so that no call comes near its deadline."""

PATIENCE = 10.0
"""Seconds for which a write that failed is repeated. When one of three Aerospike nodes with the default heartbeats is
killed, the others take all writes again after 2 to 3 seconds; calls that wait for it at that moment may take their
whole deadline (measured)."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 2.0
"""Seconds between two tries; doubled each time."""

T = TypeVar("T")


class BlockStore:
    """What the publisher and the reader do with records."""

    def __init__(self, records: RecordStore, layout: Layout) -> None:
        self._records = records
        self._layout = layout
        self.max_value_bytes = records.max_value_bytes

    def fetch(self, digests: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the stored bytes of the digests that exist; nothing is verified here."""
        found: dict[bytes, bytes] = {}
        for batch in batches(digests, BATCH):
            keys = {self._layout.record(digest): digest for digest in batch}
            for key, record in self._records.get_many(list(keys)).items():
                if isinstance(record.value, bytes):
                    found[keys[key]] = record.value
        return found

    def write(self, items: Mapping[bytes, bytes], ttl: int) -> None:
        """Write records that vanish after ``ttl`` seconds unless :meth:`keep_forever` comes first."""
        records = {self._layout.record(digest): value for digest, value in items.items()}
        _repeat(lambda: self._records.put_many(records, ttl=ttl))

    def exists(self, digests: Iterable[bytes]) -> dict[bytes, Meta]:
        """Return generation and time to live of the records that exist."""
        found: dict[bytes, Meta] = {}
        for batch in batches(digests, BATCH * 8):
            keys = {self._layout.record(digest): digest for digest in batch}
            found |= {keys[key]: meta for key, meta in self._records.exists_many(list(keys)).items()}
        return found

    def keep_forever(self, digests: Iterable[bytes]) -> set[bytes]:
        """Make records permanent; return those that exist. Each gets a new generation."""
        return self.renew(digests, None)

    def renew(self, digests: Iterable[bytes], ttl: int | None) -> set[bytes]:
        """Let records live ``ttl`` seconds more, or for ever; return those that exist. Each gets a new generation."""
        named = dict.fromkeys(digests)
        return _repeat(lambda: self._touch(named, ttl))

    def let_expire(self, generations: Mapping[bytes, int], ttl: int) -> set[bytes]:
        """Give records a time to live, in seconds, unless their generation is not the given one any more."""
        return self._touch(dict(generations), ttl)

    def _touch(self, items: Mapping[bytes, int | None], ttl: int | None) -> set[bytes]:
        touched: set[bytes] = set()
        for batch in batches(items, BATCH * 8):
            keys = {self._layout.record(digest): digest for digest in batch}
            done = self._records.touch_many({key: items[digest] for key, digest in keys.items()}, ttl)
            touched.update(keys[key] for key in done)
        return touched

    # --- the announcement copy ---------------------------------------------------------------------------------------

    def read_copy(self) -> Copy | None:
        """Return the announcement copy, or ``None`` when there is none or it makes no sense."""
        record = self._records.get(self._layout.announcement_copy)
        return None if record is None else _copy_in(record)

    def write_copy(self, announcement: Announcement, mod_revision: int) -> bool:
        """Replace the copy unless it is as new already; return whether it was replaced.

        The generation is checked, so of two writers the one with the newer announcement wins whatever their order.
        """
        mine = Copy(mod_revision=mod_revision, announcement=announcement)
        key = self._layout.announcement_copy
        while True:
            record = self._records.get(key)
            copy = None if record is None else _copy_in(record)
            if copy is not None and copy.order >= mine.order:
                return False
            try:
                if record is None:
                    self._records.put(key, mine.encode(), create_only=True)
                else:
                    self._records.put(key, mine.encode(), generation=record.generation)
            except (KeyExists, VersionConflict):
                continue
            return True


def _copy_in(record: Record) -> Copy | None:
    try:
        return Copy.decode(record.value)
    except ResponseError:  # damaged: it will be replaced
        return None


def _repeat(write: Callable[[], T]) -> T:
    """Return what ``write``, which may be done twice, returns in the end; raise its error after ``PATIENCE``."""
    until: float | None = None
    pause = FIRST_PAUSE
    while True:
        try:
            return write()
        except (ClusterError, DeadlineExceeded, OutcomeUnknown):
            now = monotonic()
            until = now + PATIENCE if until is None else until
            if now + pause > until:
                raise
        time.sleep(pause * random.uniform(0.8, 1.2))
        pause = min(LONGEST_PAUSE, 2 * pause)
