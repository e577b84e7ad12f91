"""The rows of a version in a mapped file, as a mapping: each is decoded when it is read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence, ValuesView
from contextlib import suppress
from typing import Any, Final, Self, TypeVar
from zlib import crc32

from django_etcdaero.datasets.blocks.codec import array_header, decode, split
from django_etcdaero.datasets.blocks.row_class import RowClass, row_class
from django_etcdaero.datasets.blocks.row_types import RowForm
from django_etcdaero.datasets.field_index import FieldIndex

from .form import MappedFile
from .index import index_entries
from .keys import MIX, PLAIN, encoded, mixed, pack

K = TypeVar("K")
V = TypeVar("V")

_AT_ONCE: Final = 64
"""Entries that are decoded together by whoever reads all of them."""


class MappedRows(Mapping[K, V]):
    """Keys and rows of a mapped file. A row is another object each time it is read, and equal to what it was before.

    ``rows`` and ``row_type`` are the dataset's options of these names. ``cached``: how many of the rows that were read
    last this process keeps decoded. Reading what is damaged raises ``DamagedFile`` (a ``CorruptBlock``). Pickled it
    comes back as a ``dict``.
    """

    __slots__ = ("_class", "_frozen", "_get", "_locate", "file")

    def __init__(
        self,
        file: MappedFile,
        *,
        rows: RowForm = "frozen",
        row_type: type[Any] | None = None,
        cached: int = 0,
    ) -> None:
        self.file = file
        self._frozen = rows == "frozen"
        self._class: RowClass | None = None if row_type is None else row_class(row_type)
        self._locate = _locating(file)
        read = self._reading()
        self._get = _caching(read, cached) if cached else read

    def _reading(self) -> Callable[[Any], V]:
        """Return what reads the row of a key. All it needs is bound here: it is on the path of each read.

        Not this object: the mapping has to end with its last user, and not with the next run of the garbage collector.
        """
        file, locate, made = self.file, self._locate, self._class
        data, offsets, hashes, checks, firsts = file.data, file.offsets, file.hashes, file.checks, file.firsts
        shift, frozen = 32 - file.head.bucket_bits, self._frozen

        # What _locating() does, for nearly all keys there are, without its calls: they cost as much as a look-up.
        def read(key: Any, pack: Any = pack, crc32: Any = crc32, plain: Any = PLAIN, mix: int = MIX) -> Any:
            try:
                if type(key) in plain:
                    packed = pack(key)
                    hashed = crc32(packed) * mix & 0xFFFFFFFF
                    entry = firsts[hashed >> shift]
                    while hashes[entry] < hashed:
                        entry += 1
                    if hashes[entry] == hashed:
                        pair = data[offsets[entry] : offsets[entry + 1]]
                        if pair.startswith(packed):
                            if crc32(pair) != checks[entry]:
                                file.refuse(entry)
                            row = decode(pair[len(packed) :], frozen=frozen)
                            return row if made is None else made.made((key,), (row,), frozen=frozen)[0]
            except (UnicodeEncodeError, OverflowError, IndexError):
                pass
            entry, length = locate(key)
            if entry < 0:
                raise KeyError(key)
            row = decode(file.pair(entry)[length:], frozen=frozen)
            return row if made is None else made.made((key,), (row,), frozen=frozen)[0]

        return read

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    # --- one row -----------------------------------------------------------------------------------------------------

    def __getitem__(self, key: K) -> V:
        return self._get(key)

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the row, or ``default``."""
        try:
            return self._get(key)
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        return self._locate(key)[0] >= 0

    # --- all rows ----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.file.head.entries

    def __iter__(self) -> Iterator[K]:
        for _, body in self._bodies():
            for key in split(body)[::2]:
                yield decode(key, frozen=self._frozen)

    def values(self) -> ValuesView[V]:
        return _Values(self)

    def items(self) -> ItemsView[K, V]:
        return _Items(self)

    def chunks(self) -> Iterator[tuple[Sequence[int], Sequence[K], Sequence[V]]]:
        """Yield entries, their keys and their rows, some at a time, in order if the version keeps one."""
        for entries, body in self._bodies():
            flat = decode(body, frozen=self._frozen)
            keys, rows = flat[::2], flat[1::2]
            yield entries, keys, rows if self._class is None else self._class.made(keys, rows, frozen=self._frozen)

    def pairs(self) -> Iterator[tuple[K, V]]:
        """Yield keys and rows."""
        for _, keys, rows in self.chunks():
            yield from zip(keys, rows, strict=True)

    def at(self, entry: int) -> tuple[K, V]:
        """Return key and row of an entry."""
        key, row = decode(array_header(2) + self.file.pair(entry), frozen=self._frozen)
        return key, row if self._class is None else self._class.made((key,), (row,), frozen=self._frozen)[0]

    def build_index(self, dataset: str, field: str, rows: object) -> FieldIndex[V]:
        """Return the index of these rows by ``field``, which keeps none of them."""
        return index_entries(dataset, field, self)

    def _bodies(self) -> Iterator[tuple[Sequence[int], bytes]]:
        ordered: Sequence[int] = self.file.order if self.file.head.ordered else range(len(self))
        for begin in range(0, len(self), _AT_ONCE):
            entries = ordered[begin : begin + _AT_ONCE]
            yield entries, array_header(2 * len(entries)) + b"".join(map(self.file.pair, entries))

    def __repr__(self) -> str:
        return f"<MappedRows: {len(self):,} rows in a file of {self.file.size:,} bytes>"

    def __reduce__(self) -> Any:
        return dict, (list(self.pairs()),)


class _Values(ValuesView[V]):
    __slots__ = ()

    def __iter__(self) -> Iterator[V]:
        rows: MappedRows[Any, V] = self._mapping  # type: ignore[attr-defined] # of all views of Mapping
        return (row for _, row in rows.pairs())


class _Items(ItemsView[K, V]):
    __slots__ = ()

    def __iter__(self) -> Iterator[tuple[K, V]]:
        rows: MappedRows[K, V] = self._mapping  # type: ignore[attr-defined]
        return rows.pairs()


def _locating(file: MappedFile) -> Callable[[Any], tuple[int, int]]:
    """Return what finds the entry of a key and the length of the encoded key there; -1: there is none."""
    data, offsets, hashes, firsts = file.data, file.offsets, file.hashes, file.firsts
    shift, others = 32 - file.head.bucket_bits, file.head.others

    def find(packed: bytes) -> int:
        hashed = mixed(packed)
        entry, length = firsts[hashed >> shift], len(packed)
        while hashes[entry] < hashed:
            entry += 1
        try:
            while hashes[entry] == hashed:
                begin = offsets[entry]
                if data[begin : begin + length] == packed:  # MessagePack is prefix-free: so it is the whole key
                    return entry
                file.pair(entry)  # the key of another row, if it is not damaged
                entry += 1
        except IndexError:  # a hash that is the greatest there is
            pass
        return -1

    def find_other(key: Any, packed: bytes) -> tuple[int, int]:
        hashed = mixed(packed)
        at = bisect_left(file.other_hashes, hashed)
        while at < others and file.other_hashes[at] == hashed:
            entry = file.other_entries[at]
            stored = split(array_header(2) + file.pair(entry))[0]
            if decode(stored, frozen=True) == key:
                return entry, len(stored)
            at += 1
        return -1, 0

    def locate(key: Any, pack: Any = pack, crc32: Any = crc32) -> tuple[int, int]:
        try:
            packed = pack(key) if type(key) in PLAIN else encoded(key)
        except (UnicodeEncodeError, OverflowError):
            packed = encoded(key)
        if packed is None:
            return -1, 0
        entry = find(packed)
        if entry < 0 and others:
            return find_other(key, packed)
        return entry, len(packed)

    return locate


def _caching(read: Callable[[Any], V], most: int) -> Callable[[Any], V]:
    """Return ``read`` with the last ``most`` rows kept that it has given."""
    kept: dict[Any, V] = {}

    def read_cached(key: Any) -> V:
        try:
            return kept[key]
        except KeyError:
            row = read(key)
        if len(kept) >= most:
            with suppress(StopIteration, RuntimeError):  # another thread has done it
                kept.pop(next(iter(kept)), None)
        kept[key] = row
        return row

    return read_cached
