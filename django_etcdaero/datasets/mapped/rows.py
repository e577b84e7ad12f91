"""The rows of a version in mapped files, as a mapping: each is decoded when it is read."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence, ValuesView
from contextlib import suppress
from typing import Any, Self, TypeVar
from zlib import crc32

from django_etcdaero.datasets.blocks.codec import array_header, decode, split
from django_etcdaero.datasets.blocks.row_class import RowClass, row_class
from django_etcdaero.datasets.blocks.row_types import RowForm
from django_etcdaero.datasets.field_index import FieldIndex

from .index import index_entries
from .keys import MIX, PLAIN, encoded, pack
from .one_row import making_one
from .stack import Stack

K = TypeVar("K")
V = TypeVar("V")


class MappedRows(Mapping[K, V]):
    """Keys and rows of a version. A row is another object each time it is read, and equal to what it was before.

    ``rows`` and ``row_type`` are the dataset's options of these names. ``cached``: how many of the rows that were read
    last this process keeps decoded. Reading what is damaged raises ``DamagedFile`` (a ``CorruptBlock``). Pickled it
    comes back as a ``dict``.
    """

    __slots__ = ("_class", "_frozen", "_get", "_kept", "_pair", "stack")

    def __init__(
        self,
        stack: Stack,
        *,
        rows: RowForm = "frozen",
        row_type: type[Any] | None = None,
        cached: int = 0,
    ) -> None:
        self.stack = stack
        self._frozen = rows == "frozen"
        self._class: RowClass | None = None if row_type is None else row_class(row_type)
        self._pair: Callable[[int], bytes] = stack.pair if stack.layers else stack.base.pair
        read = self._reading()
        self._kept: dict[Any, V] = {}
        """Rows that this process keeps decoded."""
        self._get = _caching(read, self._kept, cached) if cached else read

    def _reading(self) -> Callable[[Any], V]:
        """Return what reads the row of a key. All it needs is bound here: it is on the path of each read.

        Not this object: the mapping has to end with its last user, and not with the next run of the garbage collector.
        """
        stack, file = self.stack, self.stack.base
        make = None if self._class is None else making_one(self._class, frozen=self._frozen)
        data, offsets, hashes, checks, firsts = file.data, file.offsets, file.hashes, file.checks, file.firsts
        shift, frozen = 32 - file.head.bucket_bits, self._frozen
        flags, flag_bits = None, 32
        if stack.layers:
            flags, flag_bits = stack.layers[-1].flags, stack.layers[-1].head.flag_bits
        by_byte, by_bit = 35 - flag_bits, 32 - flag_bits

        # What Stack.locate() does, for nearly all keys there are, without its calls: they cost as much as a look-up.
        def read(key: Any, pack: Any = pack, crc32: Any = crc32, plain: Any = PLAIN, mix: int = MIX) -> Any:
            try:
                if type(key) in plain:
                    packed = pack(key)
                    hashed = crc32(packed) * mix & 0xFFFFFFFF
                    if flags is None or not flags[hashed >> by_byte] >> (hashed >> by_bit & 7) & 1:
                        entry = firsts[hashed >> shift]
                        while hashes[entry] < hashed:
                            entry += 1
                        if hashes[entry] == hashed:
                            pair = data[offsets[entry] : offsets[entry + 1]]
                            if pair.startswith(packed):
                                if crc32(pair) != checks[entry]:
                                    file.refuse(entry)
                                row = decode(pair[len(packed) :], frozen=frozen)
                                return row if make is None else make(key, row)
            except (UnicodeEncodeError, OverflowError, IndexError):
                pass
            found = stack.locate(key)
            if found is None:
                raise KeyError(key)
            row = decode(found.file.pair(found.entry)[found.length :], frozen=frozen)
            return row if make is None else make(key, row)

        return read

    def keep_what_is_the_same(self, before: MappedRows[K, V]) -> None:
        """Keep those rows decoded that the version before keeps, and that are known to be the same."""
        if not before._kept or not self.stack.layers:
            return
        changed = self.stack.layers[-1]
        if changed.head.others or changed.since not in [file.head.root for file in before.stack.files]:
            return
        for key, row in tuple(before._kept.items()):
            packed = encoded(key)
            if packed is not None and changed.find(packed) < 0:
                self._kept[key] = row

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
        return self.stack.locate(key) is not None

    # --- all rows ----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.stack.rows

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
        key, row = decode(array_header(2) + self._pair(entry), frozen=self._frozen)
        return key, row if self._class is None else self._class.made((key,), (row,), frozen=self._frozen)[0]

    def build_index(self, dataset: str, field: str, rows: object) -> FieldIndex[V]:
        """Return the index of these rows by ``field``, which keeps none of them."""
        return index_entries(dataset, field, self)

    def _bodies(self) -> Iterator[tuple[Sequence[int], bytes]]:
        for entries in self.stack.numbers():
            yield entries, array_header(2 * len(entries)) + b"".join(map(self._pair, entries))

    def __repr__(self) -> str:
        return f"<MappedRows: {len(self):,} rows in files of {self.stack.size:,} bytes>"

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


def _caching(read: Callable[[Any], V], kept: dict[Any, V], most: int) -> Callable[[Any], V]:
    """Return ``read`` with the last ``most`` rows kept that it has given, in ``kept``."""

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
