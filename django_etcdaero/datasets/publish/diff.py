"""What has changed between two kept versions of a dataset, row by row and field by field.

It is found when it is looked at, a few hundred blocks at a time, and only blocks that the two versions do not have in
common are fetched: :mod:`django_etcdaero.datasets.blocks.difference`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.codec import array_header, decode, split
from django_etcdaero.datasets.blocks.compression import RAW
from django_etcdaero.datasets.blocks.difference import Pair, Side, differences, stored_side
from django_etcdaero.datasets.blocks.digests import DamagedRecord, Kind, digest_of
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.blocks.partition import DecodedBlock, decode_block
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.datasets.validators import RowCounts

from .history import find_two

K = TypeVar("K")
V = TypeVar("V")

KindOfChange: TypeAlias = Literal["added", "removed", "changed"]

DecodeBlock: TypeAlias = Callable[[bytes, bytes], DecodedBlock]
"""Makes rows of a digest and a stored block."""

CHUNK: Final = 256
"""Rows that are decoded together."""


@dataclass(frozen=True, slots=True)
class Change(Generic[K, V]):
    """A row that differs between two versions, or a field of one."""

    key: K
    """Key of the row, or name of the field."""
    kind: KindOfChange
    old: V | None
    """``None`` for what was added."""
    new: V | None
    """``None`` for what was removed."""
    fields: tuple[Change[Any, Any], ...] = ()
    """Of a row that was changed and has fields: those that differ. None of them does if only their order does."""


class Diff(Generic[K, V]):
    """What has changed from the version ``old`` to ``new``: all of it by iterating, or by kind.

    Rows are as the dataset declares them. The order is the same each time, and says nothing. Looking at it
    raises ``CorruptBlock`` when a block that is needed is gone or damaged, and what the record store raises.
    """

    def __init__(self, old: Announcement, new: Announcement, sides: tuple[Side, Side], decode: DecodeBlock) -> None:
        self.old = old
        self.new = new
        self._sides = sides
        self._decode = decode

    @cached_property
    def counts(self) -> RowCounts:
        """How many rows were added, removed and changed. Fetches the blocks that differ, once."""
        found = Counter(map(kind_of, differences(*self._sides)))
        return RowCounts(found["added"], found["removed"], found["changed"])

    def __iter__(self) -> Iterator[Change[K, V]]:
        return iter(self._of_kinds(RowCounts._fields))

    @property
    def added(self) -> Differences[K, V]:
        """Rows whose keys are new."""
        return self._of_kinds(("added",))

    @property
    def removed(self) -> Differences[K, V]:
        """Rows whose keys are gone."""
        return self._of_kinds(("removed",))

    @property
    def changed(self) -> Differences[K, V]:
        """Rows that are others than before under the same keys."""
        return self._of_kinds(("changed",))

    def _of_kinds(self, kinds: Collection[str]) -> Differences[K, V]:
        return Differences(self._sides, kinds, self._decode)

    def __repr__(self) -> str:
        return f"<Diff of versions {self.old.version} and {self.new.version}>"


class Differences(Generic[K, V]):
    """The changes of some kinds. Each iteration finds them anew, and goes only as far as it is followed."""

    def __init__(self, sides: tuple[Side, Side], kinds: Collection[str], decode: DecodeBlock) -> None:
        self._sides = sides
        self._kinds = kinds
        self._decode = decode

    def __iter__(self) -> Iterator[Change[K, V]]:
        wanted = (pair for pair in differences(*self._sides) if kind_of(pair) in self._kinds)
        while chunk := list(islice(wanted, CHUNK)):
            yield from changes(chunk, self._decode)


def changes(pairs: Sequence[Pair], make_block: DecodeBlock) -> Iterator[Change[Any, Any]]:
    """Yield what pairs say, with keys and rows decoded; few at a time, for they are held."""
    old = _decoded([(pair.key, pair.old) for pair in pairs if pair.old is not None], make_block)
    new = _decoded([(pair.key, pair.new) for pair in pairs if pair.new is not None], make_block)
    for pair in pairs:
        key: Any = None
        before, after = None, None
        if pair.old is not None:
            key, before = next(old)
        if pair.new is not None:
            key, after = next(new)
        yield Change(key, kind_of(pair), before, after, _fields(pair, before, after))


def _decoded(pairs: Sequence[tuple[bytes, bytes]], make_block: DecodeBlock) -> Iterator[tuple[Any, Any]]:
    plain = array_header(2 * len(pairs)) + b"".join(key + row for key, row in pairs)
    block = make_block(digest_of(Kind.BLOCK, plain), bytes((RAW,)) + plain)
    return zip(block.keys, block.rows, strict=True)


def diff(dataset: Declared[Any, Any], stores: Stores, old: int | None, new: int | None) -> Diff[Any, Any]:
    """Compare two versions: see :meth:`django_etcdaero.datasets.dataset.Dataset.diff`."""
    entries = find_two(dataset, stores, old, new)
    decode = partial(decode_block, rows=dataset.rows, row_type=dataset.row_type)
    return Diff(*entries, sides_of(dataset, stores, entries), decode)


def sides_of(
    dataset: Declared[Any, Any], stores: Stores, entries: tuple[Announcement, Announcement]
) -> tuple[Side, Side]:
    """Return two versions to compare. Raises ``CorruptBlock``, and what the record store raises."""
    blocks = BlockStore(stores.records, dataset.layout(stores.prefix))
    old, new = (Manifest.load(blocks.fetch, bytes.fromhex(entry.root)) for entry in entries)
    return stored_side(old, blocks.fetch), stored_side(new, blocks.fetch)


def kind_of(pair: Pair) -> KindOfChange:
    """Say what has happened to the row of a pair that differs."""
    return "added" if pair.old is None else "removed" if pair.new is None else "changed"


def _fields(pair: Pair, old: Any, new: Any) -> tuple[Change[Any, Any], ...]:
    """Return the fields that differ; as with rows they are compared as they are encoded."""
    if pair.old is None or pair.new is None:
        return ()
    before, after = _encoded_fields(pair.old), _encoded_fields(pair.new)
    if before is None or after is None:
        return ()
    found: list[Change[Any, Any]] = []
    for encoded in before | after:
        if before.get(encoded) != after.get(encoded):
            name = decode(encoded, frozen=True)
            kind = kind_of(Pair(encoded, before.get(encoded), after.get(encoded)))
            was = _field(old, name) if encoded in before else None
            found.append(Change(name, kind, was, _field(new, name) if encoded in after else None))
    return tuple(found)


def _encoded_fields(row: bytes) -> dict[bytes, bytes] | None:
    """Return the encoded fields of a row that was loaded as a dict; ``None``: it was something else."""
    if row[0] & 0xF0 != 0x80 and row[0] not in (0xDE, 0xDF):
        return None
    try:
        parts = split(row)
    except DamagedRecord:
        return None
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _field(row: Any, name: Any) -> Any:
    return row[name] if isinstance(row, Mapping) else getattr(row, name, None)
