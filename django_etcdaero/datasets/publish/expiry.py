"""Letting old versions go: which entries leave the history with a publication, and which records expire after it.

``Expiry`` is made before the announcement (it reads the generations of what may go), its ``operations`` are part of
the announcement's transaction, and :meth:`Expiry.run` comes after it. Entries go through ``retired/``, so that
a publisher killed before it finished leaves a note for the next one; so does one whose announcement never came.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.layout import GARBAGE_TTL, Layout
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.exceptions import EtcdAeroError, ResponseError
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.txn import delete, put
from django_etcdaero.keyvalue.values import KeyValue, Operation

logger = logging.getLogger("django_etcdaero.datasets")

MOST = 40
"""Entries that leave with one publication: two operations each, and a transaction has at most 128."""


def choose(entries: list[Announcement], *, keep: int, held: set[int]) -> list[Announcement]:
    """Return the entries that leave the history when one more comes in, the oldest first.

    ``keep`` counts the one that comes in; versions in ``held`` stay whatever their age.
    """
    by_age = sorted(entries, key=lambda entry: entry.version)
    surplus = by_age[: max(0, len(by_age) - (keep - 1))]
    return [entry for entry in surplus if entry.version not in held][:MOST]


class Expiry:
    """What leaves with one publication. ``new`` is the manifest that is about to be announced."""

    def __init__(self, kv: KV, layout: Layout, blocks: BlockStore, *, keep: int, held: set[int], new: Manifest) -> None:
        self._kv = kv
        self._blocks = blocks
        found = kept(kv.range(layout.history(), prefix=True).kvs)
        history = {entry.version: item for entry, item in found}
        left_over = kept(kv.range(layout.retired(), prefix=True).kvs)
        known = [entry for entry, _ in found]
        leaving = choose(known, keep=keep, held=held)
        self.newest_version = max(history, default=0)
        self._marks = [layout.retired(entry.version) for entry in leaving] + [item.key for _, item in left_over]
        self.operations: list[Operation] = []
        for entry in leaving:
            self.operations.append(delete(history[entry.version].key))
            self.operations.append(put(layout.retired(entry.version), history[entry.version].value))
        self._generations: dict[bytes, int] | None = {}
        """Of the records that are to expire; ``None``: that cannot be known now."""
        if self._marks:
            gone = leaving + [entry for entry, _ in left_over]
            staying = [entry for entry in known if entry not in leaving]
            self._generations = self._garbage(gone, staying, new)

    def _garbage(self, gone: list[Announcement], staying: list[Announcement], new: Manifest) -> dict[bytes, int] | None:
        pages: dict[bytes, bytes] = {}

        def fetch(digests: list[bytes]) -> Mapping[bytes, bytes]:
            pages.update(self._blocks.fetch([digest for digest in digests if digest not in pages]))
            return {digest: pages[digest] for digest in digests if digest in pages}

        candidates: set[bytes] = set()
        for entry in gone:
            try:
                candidates.update(Manifest.load(fetch, bytes.fromhex(entry.root)).digests())
            except ResponseError as error:
                logger.warning("version %d cannot be read; its records are left as they are: %s", entry.version, error)
        candidates.difference_update(new.digests())
        for entry in staying:
            try:
                candidates.difference_update(Manifest.load(fetch, bytes.fromhex(entry.root)).digests())
            except ResponseError as error:
                # What a damaged version still needs is not known: nothing may expire as long as it is kept.
                logger.warning("version %d cannot be read; nothing is cleaned up now: %s", entry.version, error)
                return None
        return {digest: meta.generation for digest, meta in self._blocks.exists(candidates).items() if meta.ttl is None}

    def run(self) -> None:
        """After the announcement: let the records expire, then drop the notes. Errors are logged only."""
        if self._generations is None:
            return
        try:
            self._blocks.let_expire(self._generations, GARBAGE_TTL)
            for key in self._marks:
                self._kv.delete(key)
        except EtcdAeroError as error:
            logger.warning("cleaning up after a publication is left to the next one: %s", error)


def kept(items: Iterable[KeyValue]) -> list[tuple[Announcement, KeyValue]]:
    """Return the entries, ordered by version; one that makes no sense is left out: it must stop no publication."""
    believed = ((Announcement.believe(item), item) for item in items)
    return sorted([(entry, item) for entry, item in believed if entry is not None], key=lambda each: each[0].version)
