"""A version as it is mapped: a file of rows, and the layers of changes that lie over it.

Entries are numbered through: those of the file of rows first, then those of each layer, the lowest first.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple, TypeAlias

from .changes_form import MappedChanges
from .form import MappedFile, digests_in, first_of
from .keys import PLAIN, encoded, mixed, pack

AnyFile: TypeAlias = MappedFile | MappedChanges

_AT_ONCE: Final = 64
"""Entries that are given together to whoever goes through all of them."""


class Found(NamedTuple):
    """Where a row is."""

    file: AnyFile
    entry: int
    length: int
    """Of its encoded key."""


class Stack:
    """The files of a version. ``layers``: the lowest first."""

    def __init__(self, base: MappedFile, layers: Sequence[MappedChanges] = ()) -> None:
        self.base = base
        self.layers = tuple(layers)
        self.files: tuple[AnyFile, ...] = (base, *self.layers)
        self._from_top = self.layers[::-1]
        self._begins = [0, *accumulate(file.head.entries for file in self.files)]
        top = self.layers[-1].head if self.layers else None
        self.root: bytes = base.head.root if top is None else top.root
        """Digest of the root of the version."""
        self.rows: int = base.head.entries if top is None else top.rows
        """How many there are."""
        self.ordered = bool(base.head.ordered and (top is None or top.ordered))
        """Whether the rows are in the order in which they were loaded."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def layer_bytes(self) -> int:
        """Bytes of the layers."""
        return sum(layer.size for layer in self.layers)

    @property
    def damaged(self) -> str | None:
        """What is wrong with one of the files, once that has turned out."""
        return next((file.damaged for file in self.files if file.damaged), None)

    # --- one row -----------------------------------------------------------------------------------------------------

    def locate(self, key: Any, pack: Any = pack) -> Found | None:
        """Return where the row of a key is; ``None``: there is none. Raises ``TypeError`` for what cannot be a key."""
        try:
            packed = pack(key) if type(key) in PLAIN else encoded(key)
        except (UnicodeEncodeError, OverflowError):
            packed = encoded(key)
        if packed is None:
            return None
        for layer in self._from_top if self.layers and self._may_be_in_layers(mixed(packed)) else ():
            named = False
            entry = layer.find(packed)
            if entry >= 0:
                named = True
                if _is_row(layer, entry, len(packed)):
                    return Found(layer, entry, len(packed))
            for entry, length in layer.find_others(key, packed):
                named = True
                if _is_row(layer, entry, length):
                    return Found(layer, entry, length)
            if named:  # that it is gone
                return None
        entry = self.base.find(packed)
        if entry >= 0:
            return Found(self.base, entry, len(packed))
        for entry, length in self.base.find_others(key, packed):
            return Found(self.base, entry, length)
        return None

    def row(self, key: bytes) -> bytes | None:
        """Return the encoded row of an encoded key, in the very form that is stored; ``None``: there is none."""
        for layer in self._from_top if self.layers and self._may_be_in_layers(mixed(key)) else ():
            entry = layer.find(key)
            if entry >= 0:
                return layer.pair(entry)[len(key) :] or None
        entry = self.base.find(key)
        return None if entry < 0 else self.base.pair(entry)[len(key) :]

    def _may_be_in_layers(self, hashed: int) -> bool:
        top = self._from_top[0]
        flag: int = hashed >> (32 - top.head.flag_bits)
        return bool(top.flags[flag >> 3] >> (flag & 7) & 1)

    def pair(self, number: int) -> bytes:
        """Return the data of an entry by its number."""
        at = bisect_right(self._begins, number) - 1
        return self.files[at].pair(number - self._begins[at])

    # --- all rows ----------------------------------------------------------------------------------------------------

    def numbers(self) -> Iterator[Sequence[int]]:
        """Yield the numbers of all rows, some at a time, in order if the version keeps one."""
        base = self.base
        every: Sequence[int] = base.order if self.ordered else range(base.head.entries)
        for begin in range(0, len(every), _AT_ONCE):
            entries = every[begin : begin + _AT_ONCE]
            yield [number for number in map(self._number, entries) if number >= 0] if self.layers else entries
        yield from self._added()

    def _number(self, entry: int) -> int:
        """Return the number of the row that stands in the place of an entry of the file of rows; -1: it is gone."""
        if not self._may_be_in_layers(self.base.hashes[entry]):
            return entry
        return self._number_in_layers(first_of(self.base.pair(entry)), len(self.layers), entry)

    def _number_in_layers(self, key: bytes, down_from: int, otherwise: int, down_to: int = 0) -> int:
        """Return the number of a row in the layers from ``down_from`` to ``down_to``; -1: it is gone there."""
        for at in range(down_from - 1, down_to - 1, -1):
            layer = self.layers[at]
            found = layer.find(key)
            if found >= 0:
                return self._begins[at + 1] + found if _is_row(layer, found, len(key)) else -1
        return otherwise

    def _added(self) -> Iterator[Sequence[int]]:
        """Yield the numbers of rows that the file of rows does not have."""
        for at in range(len(self.layers) - 1, -1, -1):
            layer, added = self.layers[at], []
            for entry in range(layer.head.entries):
                pair = layer.pair(entry)
                key = first_of(pair)
                if (
                    len(pair) > len(key)
                    and self.base.find(key) < 0
                    and self._number_in_layers(key, len(self.layers), -2, at + 1) == -2
                ):
                    added.append(self._begins[at + 1] + entry)
                    if len(added) == _AT_ONCE:
                        yield added
                        added = []
            if added:
                yield added

    # --- blocks ------------------------------------------------------------------------------------------------------

    def names_of_blocks(self) -> list[bytes]:
        """Return the name of each block."""
        names = self.base.names_of_blocks()
        for layer in self.layers:
            for block, name in zip(layer.numbers, digests_in(layer.names), strict=True):
                names[block] = name
        return names

    def blocks_in_layers(self) -> set[int]:
        """Return the blocks that the layers say something of."""
        return {block for layer in self.layers for block in layer.numbers}

    def rows_of_blocks(self, begin: int, until: int) -> dict[bytes, bytes]:
        """Return the encoded rows of the blocks from ``begin`` to before ``until``, by encoded key."""
        base, found = self.base, {}
        for entry in range(base.starts[begin], base.starts[until]):
            pair = base.pair(entry)
            key = first_of(pair)
            found[key] = pair[len(key) :]
        for key, row in changes_between(self.layers, *self.hashes_of(begin, until)).items():
            if row is None:
                found.pop(key, None)
            else:
                found[key] = row
        return found

    def hashes_of(self, begin: int, until: int) -> tuple[int, int]:
        """Return the first hash of a row in a block, and the first one beyond those before ``until``."""
        shift = 33 - self.base.head.blocks.bit_length()
        return begin << shift, until << shift


def changes_between(layers: Sequence[MappedChanges], first: int, beyond: int) -> dict[bytes, bytes | None]:
    """Return what layers, the lowest first, come to together for rows with hashes from ``first`` to before ``beyond``:
    the encoded row by encoded key, ``None`` for one that is gone."""
    found: dict[bytes, bytes | None] = {}
    for layer in layers:
        entries = layer.head.entries
        begin = bisect_left(layer.hashes, first, 0, entries)
        for entry in range(begin, bisect_left(layer.hashes, beyond, begin, entries)):
            pair = layer.pair(entry)
            key = first_of(pair)
            found[key] = pair[len(key) :] or None
    return found


def _is_row(layer: MappedChanges, entry: int, length: int) -> bool:
    """Tell whether an entry, whose key has so many bytes, is a row, and does not say that it is gone."""
    return bool(layer.offsets[entry + 1] - layer.offsets[entry] > length)
