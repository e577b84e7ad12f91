"""Letting old versions go: which entries leave the history with a publication, and which records expire after it.

``Expiry`` is made before the announcement (it reads the generations of what may go), its ``operations`` are part of
the announcement's transaction, and :meth:`Expiry.run` comes after it. Entries go through ``retired/``, so that
a publisher killed before it finished leaves a note for the next one; so does one whose announcement never came.

A publisher may be stopped at any moment and go on later, when others have published. Then the generations tell it
which records were taken into use again. That holds as long as no record can have gone and come back, whose generations
begin anew: for as long as records live that were let expire. So it leaves the rest to the next one in time.

While a version that stays cannot be read, nothing expires: what it needs is not known. But if it cannot be read a
whole time to live after another one went, that one goes without asking it: nobody can load it any more, and a load that
gives its rows again writes all that it lacks. So what is left behind does not grow for ever.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.layout import Layout
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.stored_state import Condemned
from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.ops import delete, put
from django_etcdaero.keyvalue.values import KeyValue, Operation
from django_etcdaero.records.store import batches
from django_etcdaero.system.clocks import elapsed

from .garbage import collect

logger = logging.getLogger("django_etcdaero.datasets")

MOST = 40
"""Entries that leave with one publication: two operations each, and a transaction has at most 128. As many notes of
earlier ones are seen to with it."""
STEP = 4096
"""Records that are given a time to live together."""
MANY = 10
"""Times the size of the version that is current: more bytes than that waiting to expire are told."""
FEW_BYTES = 64 << 20
"""Less than this is not told, however small a version is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired(Announcement):
    """An announcement that left the history, or that is about to be made."""

    retired_at: float = 0.0
    """When it left, seconds since the epoch; 0: it is not known."""


def choose(entries: list[Announcement], *, keep: int, held: set[int]) -> list[Announcement]:
    """Return the entries that leave the history when one more comes in, the oldest first.

    ``keep`` counts the one that comes in; versions in ``held`` stay whatever their age.
    """
    by_age = sorted(entries, key=lambda entry: entry.version)
    surplus = by_age[: max(0, len(by_age) - (keep - 1))]
    return [entry for entry in surplus if entry.version not in held][:MOST]


class Expiry:
    """What leaves with one publication.

    ``new`` is the manifest that is about to be announced, ``ttl`` how many seconds records live that no version needs.
    """

    def __init__(
        self, kv: KV, layout: Layout, blocks: BlockStore, *, keep: int, held: set[int], new: Manifest, ttl: int
    ) -> None:
        self._kv = kv
        self._layout = layout
        self._blocks = blocks
        self._ttl = ttl
        self._bytes = new.stored_bytes
        self._read_at = self._moment()
        now = time.time()
        found = kept(kv.range(layout.history(), prefix=True).kvs)
        history = {entry.version: item for entry, item in found}
        notes = {item.key: Retired.believe(item) for item in kv.range(layout.retired(), prefix=True, limit=MOST).kvs}
        known = [entry for entry, _ in found]
        leaving = choose(known, keep=keep, held=held)
        self.newest_version = max(history, default=0)
        self.operations: list[Operation] = []
        for entry in leaving:
            self.operations.append(delete(history[entry.version].key))
            self.operations.append(put(layout.retired(entry.version), note_of(entry, now=now).encode()))
        gone: dict[bytes, Retired] = {
            layout.retired(entry.version).encode(): note_of(entry, now=now) for entry in leaving
        }
        gone |= {key: entry for key, entry in notes.items() if entry is not None}
        self._senseless = [key for key, entry in notes.items() if entry is None]
        self._find(gone, [entry for entry in known if entry not in leaving], new, now)

    def _find(self, gone: dict[bytes, Retired], staying: list[Announcement], new: Manifest, now: float) -> None:
        """Find out what is to expire, and which notes are settled with that."""
        self._sizes: dict[bytes, int] = {}
        self._generations: dict[bytes, int] = {}
        self._marks = list(gone)
        garbage = collect(self._blocks, gone.values(), staying, new) if gone else None
        if garbage is not None and garbage.unreadable:
            logger.warning(
                "versions that are kept cannot be read: %s; what else could go waits for %d s",
                ", ".join(map(str, garbage.unreadable)),
                self._ttl,
            )
            gone = {key: entry for key, entry in gone.items() if now - entry.retired_at > self._ttl}
            self._marks = list(gone)
            garbage = collect(self._blocks, gone.values(), staying, new) if gone else None
        if garbage is not None:
            self._sizes = garbage.sizes
            mortal = self._blocks.exists(garbage.sizes).items()
            self._generations = {digest: meta.generation for digest, meta in mortal if meta.ttl is None}

    def run(self, condemned: Condemned | None) -> Condemned | None:
        """After the announcement: let the records expire, then drop the notes. Errors are logged only.

        ``condemned`` is what was waiting to expire before; what is now is returned, if it is another.
        """
        if not (self._marks or self._senseless):
            return None
        try:
            gone: set[bytes] = set()
            for batch in batches(self._generations, STEP):
                if self._is_late():
                    logger.warning("cleaning up after a publication is left to the next one: this process was stopped")
                    return None
                gone |= self._blocks.let_expire({digest: self._generations[digest] for digest in batch}, self._ttl)
            now = time.time()
            size = sum(self._sizes[digest] for digest in gone)
            waiting = (condemned or Condemned(hours={})).plus(size, until=now + self._ttl, now=now)
            drop = [delete(key) for key in (*self._marks, *self._senseless)]
            self._kv.txn().then(*drop, put(self._layout.condemned, waiting.encode())).commit()
        except EtcdAeroError as error:
            logger.warning("cleaning up after a publication is left to the next one: %s", error)
            return None
        self._tell(condemned, waiting, now)
        return waiting

    def _tell(self, before: Condemned | None, waiting: Condemned, now: float) -> None:
        """Warn when more waits to expire than seems to be meant, once each time it becomes so."""
        most = max(FEW_BYTES, MANY * self._bytes)
        total = waiting.bytes(now)
        if total > most >= (before.bytes(now) if before is not None else 0):
            logger.warning(
                "dataset %s: %d MB of replaced versions stand in the record store until they expire, %.0f times the "
                "version that is current: load less often, or lower GARBAGE_TTL (now %d s)",
                self._layout.name,
                total >> 20,
                total / max(1, self._bytes),
                self._ttl,
            )

    def _is_late(self) -> bool:
        """Tell whether so much time has passed that a record may have gone and come back."""
        return max(now - then for now, then in zip(self._moment(), self._read_at, strict=True)) > self._ttl / 2

    @staticmethod
    def _moment() -> tuple[float, float]:
        # Both clocks: one stands while the machine does, the other is set back now and then.
        return elapsed(), time.time()


def note_of(entry: Announcement, *, now: float) -> Retired:
    """Return the note for ``retired/``."""
    fields = {name: getattr(entry, name) for name in Announcement.__dataclass_fields__}
    return Retired(**fields, retired_at=now)


def kept(items: Iterable[KeyValue]) -> list[tuple[Announcement, KeyValue]]:
    """Return the entries, ordered by version; one that makes no sense is left out: it must stop no publication."""
    believed = ((Announcement.believe(item), item) for item in items)
    return sorted([(entry, item) for entry, item in believed if entry is not None], key=lambda each: each[0].version)
