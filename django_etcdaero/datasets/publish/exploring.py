"""Looking at the rows of a version without holding it: a key, a page, a search. Only blocks that are needed are read.

Rows are of the types in which they are stored, and in the order of the blocks, which says nothing. A place says where
to go on; all ends when its time is over, with what was found by then, and nothing is kept between two visits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from django_etcdaero.datasets.blocks.applied import Applied
from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.codec import Encoder, decode
from django_etcdaero.datasets.blocks.digests import Fetch
from django_etcdaero.datasets.blocks.encoded_rows import encoded_pairs
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.exceptions import KeyNotFound
from django_etcdaero.records.store import batches

FETCH = 32
"""Blocks in one fetch: about a thousand rows."""


class RowPlace(NamedTuple):
    """Where to go on."""

    block: int = 0
    """Records of blocks before it were looked at."""
    row: int = 0
    """Rows of it that were looked at."""


class Row(NamedTuple):
    """A row of a version."""

    encoded: bytes
    """Its key, as it is stored: :func:`decode_key` is the inverse of :func:`encode_key`."""
    key: Any
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPage:
    """Some rows."""

    rows: list[Row]
    next: RowPlace | None
    """Where the next page begins; ``None``: this is the last one."""
    done: float
    """Which part of the version was looked at up to there, from 0 to 1."""
    in_time: bool
    """False: the time was over before the page was full."""


class Exploration:
    """A version whose rows can be looked at."""

    def __init__(self, announcement: Announcement, manifest: Manifest, fetch: Fetch) -> None:
        self.announcement = announcement
        self._applied = Applied(manifest, fetch)

    def find(self, key: bytes) -> Row:
        """Return the row with an encoded key. Raises ``KeyNotFound``, ``CorruptBlock``, what the store raises."""
        for name in self.holding(key):
            for encoded, row in encoded_pairs(self._applied.plain([name])[name]):
                if encoded == key:
                    return Row(encoded, decode(encoded), decode(row))
        raise KeyNotFound(f"version {self.announcement.version} has no row with this key")

    def holding(self, key: bytes) -> Sequence[bytes]:
        """Return the names of the blocks in which a row with an encoded key would be: one, or the parts of one."""
        return self._applied.holding(key)

    def page(self, place: RowPlace, *, limit: int, is_over: Callable[[], bool], text: str | None = None) -> RowPage:
        """Return rows from a place on, at most ``limit``: those that have ``text``, in whatever case.

        ``is_over`` tells whether the time is. Raises ``CorruptBlock``, and what the store raises.
        """
        blocks, wanted = self._applied.blocks, None if text is None else text.casefold()
        found: list[Row] = []
        at = RowPlace(min(place.block, len(blocks)), place.row)
        for batch in batches(blocks[at.block :], FETCH):
            if at != place and is_over():
                return self._page(found, at, in_time=False)
            read = self._applied.plain(dict.fromkeys(batch))
            for name in batch:
                for number, (encoded, stored) in enumerate(encoded_pairs(read[name])):
                    if number < at.row:
                        continue
                    key, row = decode(encoded), decode(stored)
                    if wanted is None or says(key, wanted) or says(row, wanted):
                        if len(found) == limit:
                            return self._page(found, at._replace(row=number))
                        found.append(Row(encoded, key, row))
                at = RowPlace(at.block + 1)
        return self._page(found, None)

    def _page(self, rows: list[Row], place: RowPlace | None, *, in_time: bool = True) -> RowPage:
        done = 1.0 if place is None else place.block / max(1, len(self._applied.blocks))
        return RowPage(rows=rows, next=place, done=done, in_time=in_time)


def explore(dataset: Declared[Any, Any], stores: Stores, announcement: Announcement) -> Exploration:
    """Open a version. Raises ``CorruptBlock``, and what the store raises."""
    blocks = BlockStore(stores.records, dataset.layout(stores.prefix))
    return Exploration(announcement, Manifest.load(blocks.fetch, bytes.fromhex(announcement.root)), blocks.fetch)


def encode_key(key: Any) -> bytes:
    """Return a key as it is stored. Raises ``EncodeError`` for what cannot be one."""
    return Encoder().encode([key], [None])[0][0]


def decode_key(encoded: bytes) -> Any:
    """Return the key that is stored so. Raises ``DamagedRecord``."""
    return decode(encoded)


def says(value: Any, text: str) -> bool:
    """Tell whether a value has a text (in lower case) somewhere in it, names of fields left aside."""
    if isinstance(value, str):
        return text in value.casefold()
    if isinstance(value, Mapping):
        return any(says(each, text) for each in value.values())
    if isinstance(value, list | tuple | Set):
        return any(says(each, text) for each in value)
    return text in str(value).casefold()


class RowInVersion(NamedTuple):
    """What a version has under a key."""

    announcement: Announcement
    row: Row | None
    """``None``: it has none."""


def over_versions(
    dataset: Declared[Any, Any],
    stores: Stores,
    entries: Iterable[Announcement],
    key: bytes,
    *,
    is_over: Callable[[], bool],
) -> tuple[list[RowInVersion], bool]:
    """Look an encoded key up in several versions; return what each has, and whether the time sufficed for all.

    A block that two versions have in common is read once. Raises ``CorruptBlock``, and what the store raises.
    """
    found: list[RowInVersion] = []
    read: dict[tuple[bytes, ...], Row | None] = {}
    for entry in entries:
        if found and is_over():
            return found, False
        version = explore(dataset, stores, entry)
        blocks = tuple(version.holding(key))
        if blocks not in read:
            try:
                read[blocks] = version.find(key)
            except KeyNotFound:
                read[blocks] = None
        found.append(RowInVersion(entry, read[blocks]))
    return found, True
