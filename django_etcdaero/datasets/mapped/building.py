"""Making the file of a version from the record store, and from the file of another version for what did not change.

Blocks are fetched, verified, and written one after the other; of no row more is made than where it begins and ends. In
memory are the rows of one fetch, and what :mod:`.writing` keeps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import groupby, pairwise
from typing import BinaryIO, Final, NamedTuple

from django_etcdaero.datasets.blocks.codec import split
from django_etcdaero.datasets.blocks.compression import verified
from django_etcdaero.datasets.blocks.delta_reading import net_changes
from django_etcdaero.datasets.blocks.digests import DIGEST_BYTES, DamagedRecord, Fetch, Kind, fetched
from django_etcdaero.datasets.blocks.encoded_rows import encoded_pairs
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.blocks.order import Order
from django_etcdaero.datasets.blocks.partition import block_of
from django_etcdaero.exceptions import CorruptBlock

from .form import MappedFile
from .writing import Entries, Writer

FETCH: Final = 256
"""Records in one fetch."""
_COPIED: Final = 256
"""Blocks that are copied at once: some 10,000 rows, which takes about a millisecond."""
_PERSON: Final = b"etcdaero mapped"
_EMPTY: Final = bytes(DIGEST_BYTES)
_UNCHANGED: Final[Mapping[bytes, bytes | None]] = {}


class Block(NamedTuple):
    """A block of the version, as it is to be in the file."""

    number: int
    parts: tuple[bytes, ...]
    """Digests of its records."""
    changes: Mapping[bytes, bytes | None]
    """What deltas make of its rows: encoded rows by encoded key, ``None`` for one that goes."""

    @property
    def name(self) -> bytes:
        """What is the same in two versions only if all rows of the block are."""
        if not self.changes and len(self.parts) < 2:
            return self.parts[0] if self.parts else _EMPTY
        named = blake2b(digest_size=DIGEST_BYTES, person=_PERSON)
        named.update(len(self.parts).to_bytes(4, "big") + b"".join(self.parts))
        for key, row in sorted(self.changes.items()):
            for data in (key, row or b""):
                named.update(len(data).to_bytes(4, "big") + data)
        return named.digest()


def blocks_of(manifest: Manifest, fetch: Fetch) -> list[Block]:
    """Return all blocks of a version; its deltas are fetched. Raises ``CorruptBlock``, and what ``fetch`` raises."""
    changes: dict[int, dict[bytes, bytes | None]] = defaultdict(dict)
    for key, row in net_changes(manifest.deltas, fetch).items():
        changes[block_of(key, manifest.count)][key] = row
    parts = {
        index: tuple(digest for _, digest in of_block)
        for index, of_block in groupby(zip(manifest.indices, manifest.blocks, strict=True), key=lambda each: each[0])
    }
    return [Block(index, parts.get(index, ()), changes.get(index, _UNCHANGED)) for index in range(manifest.count)]


class Plan(NamedTuple):
    """Which blocks of a version are copied from another file, and which are made anew."""

    blocks: Sequence[Block]
    base: MappedFile | None
    new: Sequence[bool]
    """Of each block: whether it is not in ``base``."""

    @classmethod
    def of(cls, blocks: Sequence[Block], base: MappedFile | None, *, changed: Collection[int] = ()) -> Plan:
        """Compare a version with a file, which may be that of any version; ``changed`` are blocks not to be copied."""
        if base is None or base.head.blocks != len(blocks):
            return cls(blocks, None, [True] * len(blocks))
        named = zip(blocks, base.names_of_blocks(), strict=True)
        return cls(blocks, base, [block.name != name or block.number in changed for block, name in named])

    @property
    def share(self) -> float:
        """The share of the blocks that is to be fetched."""
        return sum(self.new) / max(1, len(self.new))


def build(
    file: BinaryIO, manifest: Manifest, plan: Plan, fetch: Fetch, *, progress: Callable[[], object] = lambda: None
) -> None:
    """Write the file of a version to the new, empty ``file``, which can be read as well.

    ``progress`` is called again and again; it may raise. Raises ``CorruptBlock`` for what is missing or damaged in the
    record store, and what ``fetch`` raises.
    """
    writer = Writer(file, root=manifest.root_digest, blocks=manifest.count)
    wanted = [digest for block, new in zip(plan.blocks, plan.new, strict=True) if new for digest in block.parts]
    stored = fetched(wanted, fetch, at_once=FETCH, what="blocks")
    for begin, end in _runs(plan.new):
        if plan.base is not None and not plan.new[begin]:
            for block in range(begin, end, _COPIED):
                writer.copy(plan.base, block, min(block + _COPIED, end))
                progress()
            continue
        for each in plan.blocks[begin:end]:
            rows = rows_of(each, stored)
            writer.add(each.number, each.name, list(rows), list(rows.values()))
            progress()
    if len(writer.rows) != manifest.rows:
        raise CorruptBlock(f"the version has {len(writer.rows):,} different keys, and its root says {manifest.rows:,}")
    writer.finish(_in_order(manifest.order, writer.rows, fetch) if manifest.order.chunks else None)


def _runs(flags: Sequence[bool]) -> list[tuple[int, int]]:
    """Return where runs of equal flags begin and end."""
    bounds = [at for at, (one, other) in enumerate(pairwise(flags), 1) if one != other]
    return list(pairwise([0, *bounds, len(flags)]))


def rows_of(block: Block, stored: Iterator[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the encoded rows of a block by encoded key, of which the next records of ``stored`` are the parts.

    Raises ``CorruptBlock``.
    """
    rows: dict[bytes, bytes] = {}
    count = 0
    for _ in block.parts:
        digest, data = next(stored)
        try:
            pairs = encoded_pairs(verified(Kind.BLOCK, digest, data))
        except ValueError as error:
            raise DamagedRecord.of(Kind.BLOCK, digest, "it is not a list of keys and rows") from error
        rows.update(pairs)
        count += len(pairs)
    if len(rows) != count:
        raise CorruptBlock(f"block {block.number} has two rows with one key")
    for key, row in block.changes.items():
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row
    return rows


def _in_order(order: Order, rows: Entries, fetch: Fetch) -> Iterator[int]:
    """Yield the entry of each key that the chunks of the order name."""
    left = bytearray(b"\x01") * len(rows)
    for digest, stored in fetched(order.chunks, fetch, at_once=FETCH, what="chunks of the order"):
        for key in split(verified(Kind.ORDER, digest, stored)):
            entry = rows.entry_of(key)
            if entry is None or not left[entry]:
                raise CorruptBlock(f"order {digest.hex()}: a key is that of no row, or is named twice")
            left[entry] = 0
            yield entry
    if any(left):
        raise CorruptBlock("the order does not name all rows")
