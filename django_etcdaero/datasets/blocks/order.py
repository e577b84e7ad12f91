"""The order of rows: the sequence of their keys, in records of its own beside the blocks.

Rows are spread over blocks by a hash of their keys, so blocks know no order. A dataset that keeps one stores the keys
in their sequence, cut into chunks. Where a chunk ends is said by its last key alone (a hash of it, one key of 1,024 on
average), so a row that comes in or goes changes one chunk, and equal sequences give equal chunks. A chunk also ends
after ``MOST_KEYS`` keys or ``part_bytes`` bytes, so that reading one never takes long.

A chunk's plain form is a MessagePack array of keys. Chunks are listed in pages of their own, of ``PAGE_CHUNKS`` chunks
each: MessagePack arrays ``[joined digests, [stored sizes], [numbers of keys]]``, named by the root like other pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from itertools import chain, islice
from typing import Any, Final, NamedTuple, cast

import msgpack

from django_etcdaero.exceptions import CorruptBlock
from django_etcdaero.system.native_types import untrack

from .codec import array_header, decode
from .compression import verified
from .digests import DIGEST_BYTES, DamagedRecord, Fetch, Kind, fetched
from .held import InSequence, Sharded
from .held_freeing import free_rows
from .held_making import Making

KEYS: Final = 1024
"""Keys in a chunk on average: a power of two."""
MOST_KEYS: Final = 4 * KEYS
PAGE_CHUNKS: Final = 512
"""Chunks that a page lists."""
FETCH: Final = 512
"""Chunks in one fetch."""


class Order(NamedTuple):
    """The chunks of a version, in their order. A version without rows, or that keeps no order, has none."""

    chunks: tuple[bytes, ...] = ()
    """Their digests."""
    sizes: tuple[int, ...] = ()
    """Their stored sizes."""
    counts: tuple[int, ...] = ()
    """How many keys are in each."""

    def plain_pages(self) -> Iterator[bytes]:
        """Yield the pages that list them."""
        for first in range(0, len(self.chunks), PAGE_CHUNKS):
            part = slice(first, first + PAGE_CHUNKS)
            page = [b"".join(self.chunks[part]), self.sizes[part], self.counts[part]]
            yield cast(bytes, msgpack.packb(page))

    @classmethod
    def read_page(cls, decoded: Any) -> Order:
        """Return the chunks of one page. Raises ``TypeError`` or ``ValueError`` for what is none."""
        joined, sizes, counts = decoded
        if type(joined) is not bytes or not all(
            type(number) is int and 0 <= number < 2**63 for number in (*sizes, *counts)
        ):
            raise ValueError("digests, sizes and numbers of keys are something else")
        chunks = tuple(joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES))
        if not len(chunks) == len(joined) / DIGEST_BYTES == len(sizes) == len(counts):
            raise ValueError("it does not have a digest, a size and a number of keys for each chunk")
        return cls(chunks, tuple(sizes), tuple(counts))

    @classmethod
    def joined(cls, pages: Iterable[Order]) -> Order:
        """Return the chunks of all pages."""
        listed = tuple(pages)
        return cls(
            tuple(chain.from_iterable(page.chunks for page in listed)),
            tuple(chain.from_iterable(page.sizes for page in listed)),
            tuple(chain.from_iterable(page.counts for page in listed)),
        )


NO_ORDER: Final = Order()


class Cutter:
    """Cuts a sequence of encoded keys into chunks of at most ``part_bytes`` bytes."""

    def __init__(self, part_bytes: int) -> None:
        self._part_bytes = part_bytes
        self._chunk: list[bytes] = []
        self._size = 0
        self._chunks: list[tuple[bytes, int]] = []

    def add(self, keys: Sequence[bytes], checksums: Iterable[int]) -> None:
        """Take the next keys, each with its CRC-32."""
        for key, checksum in zip(keys, checksums, strict=True):
            if self._size + len(key) > self._part_bytes:
                self._cut()
            self._chunk.append(key)
            self._size += len(key)
            # Multiplied by 2**64 over the golden ratio, because the bits of a CRC-32 follow patterns in the keys.
            if len(self._chunk) == MOST_KEYS or not (checksum * 0x9E3779B97F4A7C15 >> 54) % KEYS:
                self._cut()

    def whole(self) -> list[tuple[bytes, int]]:
        """Return the plain form of each chunk that is whole, with its number of keys; each is returned once."""
        chunks, self._chunks = self._chunks, []
        return chunks

    def chunks(self) -> list[tuple[bytes, int]]:
        """Likewise for all that are left, when all keys were added."""
        self._cut()
        return self.whole()

    def _cut(self) -> None:
        if self._chunk:
            plain = array_header(len(self._chunk)) + b"".join(self._chunk)
            self._chunks.append((plain, len(self._chunk)))
            self._chunk, self._size = [], 0


def in_order(
    rows: Mapping[Any, Any],
    order: Order,
    fetch: Fetch,
    *,
    before: Order = NO_ORDER,
    ordered: Iterable[Any] = (),
    fresh: Iterable[Sequence[Any]] = (),
) -> Mapping[Any, Any]:
    """Return ``rows`` in the order of the chunks, of which those are fetched that were not in the version before.

    ``before`` are the chunks of that version, ``ordered`` its keys, in its order, and ``fresh`` the keys of the blocks
    that were not in it. The keys of the result are those of ``rows``; equal ones in chunks would take their memory once
    more. Raises ``CorruptBlock`` for chunks that are missing, damaged, or have other keys than the rows, and what the
    stores raise.
    """
    known, gone = _known(order, before, ordered)
    for keys in fresh:
        gone.put(keys, keys)
    if not before.chunks:
        gone = _by_themselves(rows)
    own = gone.done()
    wanted = [digest for digest in order.chunks if digest not in known]
    for digest, stored in fetched(wanted, fetch, at_once=FETCH, what="chunks of the order"):
        try:
            known[digest] = [own[key] for key in _decoded(digest, stored)]
        except (KeyError, TypeError) as error:
            raise CorruptBlock(f"order {digest.hex()}: a key is that of no row: {error}") from error
    sequence = Making(None, len(rows))
    try:
        for digest in order.chunks:
            keys = known[digest] = tuple(known[digest])
            untrack(keys)
            sequence.put(keys, [rows[key] for key in keys])
    except KeyError as error:
        raise CorruptBlock(f"the order names a key that is that of no row: {error}") from error
    made = sequence.done()
    if len(made) != len(rows):
        raise CorruptBlock(f"the order names {len(made):,} different keys, and there are {len(rows):,} rows")
    if isinstance(rows, Sharded):
        free_rows(own)  # as old rows are: there are as many entries
        free_rows(made)
        return InSequence(rows, (known[digest] for digest in order.chunks))
    return made


def _by_themselves(keys: Iterable[Any]) -> Making:
    """Return the keys, each under itself, to be added to."""
    made = Making(None, len(keys) if isinstance(keys, Sized) else 0)
    each = iter(keys)
    while some := tuple(islice(each, KEYS)):
        made.put(some, some)
    return made


def _known(order: Order, before: Order, ordered: Iterable[Any]) -> tuple[dict[bytes, Sequence[Any]], Making]:
    """Return the keys of the chunks that two versions have in common, and those of the chunks that are gone."""
    wanted, keys = set(order.chunks), iter(ordered)
    known: dict[bytes, Sequence[Any]] = {}
    gone = Making(None, sum(before.counts))
    for digest, count in zip(before.chunks, before.counts, strict=True):
        chunk = tuple(islice(keys, count))
        if digest in wanted:
            known[digest] = chunk
        else:
            gone.put(chunk, chunk)
    return known, gone


def _decoded(digest: bytes, stored: bytes) -> Sequence[Any]:
    plain = verified(Kind.ORDER, digest, stored)
    try:
        keys: Any = decode(plain)
    except DamagedRecord as error:
        raise DamagedRecord.of(Kind.ORDER, digest, error) from error
    if type(keys) is not list:
        raise DamagedRecord.of(Kind.ORDER, digest, "it is not a list of keys")
    return keys
