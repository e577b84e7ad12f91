"""Rows in memory that are replaced by newer ones without standing in anybody's way.

Up to ``SMALL`` rows they are in a ``dict``. To copy, to enlarge or to free a large ``dict`` is one step of the
interpreter in which no other thread runs: 20 to 30 ns for each row, 0.25 s for ten million. So more rows are in many
small dictionaries, *shards*, chosen by the hash of the key: :class:`Sharded`, which is read like the ``dict``. A
changed row costs the copy of one shard, and its freeing when the old version goes; the others are in both versions.

What makes them is in :mod:`.held_making` and :mod:`.held_front`, what drops them in :mod:`.held_freeing`. No step
there has to do with more than ``SMALL`` entries at once, and between two of them others get their turn.
"""

from __future__ import annotations

from collections.abc import Collection, ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from types import MappingProxyType
from typing import Any, Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")

SMALL: Final = 32_768
"""Most entries of a dictionary that is copied or freed in one step: half a millisecond, up to one when it is new to the
processor's caches."""
PER_SHARD: Final = ((2_000_000, 28), (16_000_000, 64))
"""Entries of a shard when it is made, on average, for at most so many rows in all; of more ``LARGEST_SHARD``. To take
a new version into use, each shard that has a changed row is copied, and each reference to a shard: rows that are not in
the processor's caches are touched for it, which is most of what it costs. These are the numbers at which a thousand
changed rows cost least, and with which few shards outgrow a hash table for 42, 85 or 170 entries."""
LARGEST_SHARD: Final = 128
FEWEST: Final = 1 / 4
MOST: Final = 4
"""Times the number of entries for which the shards were made, between which their number stays as it is."""
SLICE: Final = 500
"""Entries that are dropped before other threads get their turn."""


class Sharded(Mapping[K, V]):
    """A mapping in many dictionaries that nothing changes; made by :class:`.held_making.Making`."""

    __slots__ = ("_behind", "_count", "_front", "_number", "_replaced", "_shards", "_untracked")

    _behind: Sharded[K, V] | None
    _front: Mapping[Any, Any]

    def __init__(self, shards: list[dict[K, V]], count: int, *, untracked: bool) -> None:
        self._shards = shards
        self._number = len(shards)
        """How many there are: a prime number, because hashes of numbers are the numbers, which follow patterns."""
        self._count = count
        self._untracked = untracked
        """Whether no value can be part of a cycle, so that the garbage collector leaves the shards out."""
        self._replaced: Collection[int] | None = None
        """The shards that the version which was made of this one does not have, once there is one."""

    def settle(self) -> None:
        """Put what stands in front of the shards into them (:mod:`.held_front`); here is nothing."""

    # The three that cost what a read costs.

    def __getitem__(self, key: K) -> V:
        return self._shards[hash(key) % self._number][key]

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the row, or ``default``."""
        return self._shards[hash(key) % self._number].get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._shards[hash(key) % self._number]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[K]:
        for shard in self._shards:
            yield from shard

    def __reversed__(self) -> Iterator[K]:
        for shard in reversed(self._shards):
            yield from reversed(shard)

    def keys(self) -> KeysView[K]:
        return _Keys(self)

    def values(self) -> ValuesView[V]:
        return _Values(self)

    def items(self) -> ItemsView[K, V]:
        return _Items(self)

    def _each_value(self) -> Iterator[V]:
        for shard in self._shards:
            yield from shard.values()

    def _each_item(self) -> Iterator[tuple[K, V]]:
        for shard in self._shards:
            yield from shard.items()

    # What the read-only view of a dict has as well.

    def copy(self) -> dict[K, V]:
        """Return the rows in a ``dict``."""
        return dict(self._each_item())

    def __or__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        return self.copy() | dict(other)

    def __ror__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        return dict(other) | self.copy()

    def __copy__(self) -> Sharded[K, V]:
        return self

    def __deepcopy__(self, memo: object) -> Sharded[K, V]:
        return self

    def __reduce__(self) -> Any:
        return dict, (), None, None, self._each_item()  # pickled it comes back as a dict

    def __repr__(self) -> str:
        return f"<{self._count:,} entries>"

    @property
    def largest(self) -> int:
        """Entries of the largest shard."""
        return max(map(len, self._shards))

    def shards_not_in(self, other: Sharded[Any, Any]) -> int:
        """Return how many shards another version does not share."""
        return len(set(map(id, self._shards)) - set(map(id, other._shards)))


class InSequence(Sharded[K, V]):
    """Rows in the order of ``chunks`` of their keys."""

    __slots__ = ("chunks",)

    def __init__(self, rows: Sharded[K, V], chunks: Iterable[Sequence[K]]) -> None:
        super().__init__(rows._shards, rows._count, untracked=rows._untracked)
        self.chunks = list(chunks)

    def __iter__(self) -> Iterator[K]:
        for chunk in self.chunks:
            yield from chunk

    def __reversed__(self) -> Iterator[K]:
        for chunk in reversed(self.chunks):
            yield from reversed(chunk)

    def _each_value(self) -> Iterator[V]:
        for chunk in self.chunks:
            for key in chunk:
                yield self[key]

    def _each_item(self) -> Iterator[tuple[K, V]]:
        for chunk in self.chunks:
            for key in chunk:
                yield key, self[key]


class _Keys(KeysView[K]):
    _mapping: Sharded[K, Any]

    def __reversed__(self) -> Iterator[K]:
        return reversed(self._mapping)


class _Values(ValuesView[V]):
    _mapping: Sharded[Any, V]

    def __iter__(self) -> Iterator[V]:
        return self._mapping._each_value()

    def __reversed__(self) -> Iterator[V]:
        return map(self._mapping.__getitem__, reversed(self._mapping))


class _Items(ItemsView[K, V]):
    _mapping: Sharded[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return self._mapping._each_item()

    def __reversed__(self) -> Iterator[tuple[K, V]]:
        mapping = self._mapping
        return ((key, mapping[key]) for key in reversed(mapping))


def per_shard(size: int) -> int:
    """Return how many of ``size`` entries a shard is made for."""
    return next((entries for most, entries in PER_SHARD if size <= most), LARGEST_SHARD)


def read_only(rows: Mapping[K, V]) -> Mapping[K, V]:
    """Return rows as those may see them who must not change them."""
    return MappingProxyType(rows) if isinstance(rows, dict) else rows
