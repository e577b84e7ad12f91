"""The blocks, pages and roots of one dataset in the record store, addressed by digest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..exceptions import KeyExists, ResponseError, VersionConflict
from ..records.store import Meta, batches
from .announcement import Announcement, Copy

if TYPE_CHECKING:
    from ..records.store import RecordStore
    from .layout import Layout

BATCH = 512
"""Records in one call to the store: about 1 to 2 MB, so that no call comes near its deadline."""


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
        self._records.put_many({self._layout.record(digest): value for digest, value in items.items()}, ttl=ttl)

    def exists(self, digests: Iterable[bytes]) -> dict[bytes, Meta]:
        """Return generation and time to live of the records that exist."""
        found: dict[bytes, Meta] = {}
        for batch in batches(digests, BATCH * 8):
            keys = {self._layout.record(digest): digest for digest in batch}
            for key, meta in self._records.exists_many(list(keys)).items():
                found[keys[key]] = meta
        return found

    def keep_forever(self, digests: Iterable[bytes]) -> set[bytes]:
        """Make records permanent; return those that exist. Each gets a new generation."""
        return self._touch(dict.fromkeys(digests), None)

    def renew(self, digests: Iterable[bytes], ttl: int) -> set[bytes]:
        """Let records live for another ``ttl`` seconds; return those that exist. Each gets a new generation."""
        return self._touch(dict.fromkeys(digests), ttl)

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
        if record is None:
            return None
        try:
            return Copy.decode(record.value)
        except ResponseError:
            return None

    def write_copy(self, announcement: Announcement, mod_revision: int) -> bool:
        """Replace the copy unless it is as new already; return whether it was replaced.

        The generation is checked, so of two writers the one with the newer announcement wins whatever their order.
        """
        mine = Copy(mod_revision=mod_revision, announcement=announcement)
        key = self._layout.announcement_copy
        while True:
            record = self._records.get(key)
            if record is not None:
                try:
                    if Copy.decode(record.value).order >= mine.order:
                        return False
                except ResponseError:
                    pass  # damaged: replace it
            try:
                if record is None:
                    self._records.put(key, mine.encode(), create_only=True)
                else:
                    self._records.put(key, mine.encode(), generation=record.generation)
            except (KeyExists, VersionConflict):
                continue
            return True
