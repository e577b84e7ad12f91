"""Rows on their way to their blocks.

The rows of a block are far apart in the sequence in which they come. So they are encoded as they come, some hundred at
a time, while they are in the processor's caches, and each block is put together from that: going to the rows again
block by block took 1.4 times as long with 200,000 rows.

What is kept of a row is its encoded key and a MessagePack array: ``[number, value, …]`` where those that came with it
have the same fields, with the number of what they have in common and the values as :func:`.column_forms.shorten` makes
them; else ``[-1 - number, bytes]`` with the row as it is encoded for a block by rows and the number of its shape, or
``[-1, bytes]`` where that is none for columns. This is never stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from operator import add
from typing import Any, Final, NamedTuple

from django_etcdaero.exceptions import ResponseError

from . import column_forms as forms
from .codec import PACKING_ERRORS, Encoder, array_header, decode
from .columns import FEWEST, TUPLES, Shape, columns_of, shape_of, write
from .keys import KeyCheck
from .row_class import row_class

_NO_SHAPE: Final = 0


class _Common(NamedTuple):
    """What rows have in common that came together."""

    shape: Shape
    ways: tuple[forms.Way, ...]


class Gathering:
    """Takes the rows of a version and gives the plain forms of its blocks.

    ``columns``: blocks may be written by columns; ``longest``: bytes of a block that is, and of parts of others;
    ``row_type``: the class of the rows, which are checked then.
    """

    def __init__(self, *, columns: bool, longest: int, row_type: type[Any] | None = None) -> None:
        self._row_class = None if row_type is None else row_class(row_type)
        self._columns = columns
        self.writes_columns = columns
        """Whether blocks are written by columns; may be taken back after rows were taken."""
        self.longest = longest
        self._encoder = Encoder()
        self._check = KeyCheck(self._encoder.zones)
        self._commons: dict[_Common, int] = {}
        self._common: list[_Common] = []
        self._shapes: dict[Any, int] = {None: _NO_SHAPE}
        self._longer = 0
        """At most so much longer than what is kept of it is a row when it is encoded one by one."""
        self._usual: dict[tuple[Shape, int], tuple[forms.Way, ...]] = {}

    def keys(self, keys: Sequence[Any]) -> list[bytes]:
        """Return the encodings of keys. Raises ``EncodeError``, also for those that could not be told apart."""
        encoded = self._encoder.keys(keys)
        self._check.check_keys(keys, encoded)
        return encoded

    def rows(self, keys: Sequence[Any], encoded_keys: Sequence[bytes], rows: Sequence[Any]) -> list[bytes]:
        """Return what is kept of rows that came together. Raises ``EncodeError``."""
        found = columns_of(rows) if self._row_class is None else self._row_class.columns_of(rows)
        if self._row_class is not None:
            if found is None:
                self._row_class.check(keys, self._row_class.plain(rows))
            else:
                self._row_class.check_columns(keys, *found)
        kept = None if found is None or not self._columns else self._by_columns(*found)
        if kept is None:
            encoded = self.one_by_one(keys, rows)
            self._check.check_rows(keys, rows, lambda: encoded)
            if not self._columns:
                return list(map(add, encoded_keys, encoded))
            pack = self._encoder.scalars
            kept = [pack((-1 - self._number(row), data)) for row, data in zip(rows, encoded, strict=True)]
        else:
            self._check.check_rows(keys, rows, lambda: self.one_by_one(keys, rows))
        return list(map(add, encoded_keys, kept))

    def _by_columns(self, shape: Shape, columns: Sequence[Sequence[Any]]) -> list[bytes] | None:
        try:
            shortened = self._shortened(shape, columns)
            if shortened is None:
                return None
            common, columns = shortened
            self._usual[common.shape, len(columns)] = common.ways
            number = self._commons.setdefault(common, len(self._commons))
            if number == len(self._common):
                self._common.append(common)
                names = sum(map(len, map(str.encode, common.shape.names)))
                self._longer = max(self._longer, names + 20 * len(columns))
            pack = self._encoder.scalars
            # No map(): other threads get their turn between two rows.
            return [pack(row) for row in zip(repeat(number, len(columns[0])), *columns, strict=True)]
        except (*PACKING_ERRORS, ResponseError):  # whoever writes it row by row names what is wrong
            return None

    def _shortened(self, shape: Shape, columns: Sequence[Sequence[Any]]) -> tuple[_Common, list[Sequence[Any]]] | None:
        """Return what rows have in common, and their fields; ``None`` if they are not written by columns."""
        usual = self._usual.get((shape, len(columns))) or (forms.Way(forms.PLAIN),) * len(columns)
        shortened = [forms.shorten(values, self._encoder, way) for values, way in zip(columns, usual, strict=True)]
        ways = tuple([way for way, _ in shortened])
        if shape.kind == TUPLES and any(way.form == forms.GENERAL for way in ways):
            return None  # a level of nesting less than in the row, where their number is limited
        return _Common(shape, ways), [values for _, values in shortened]

    def _number(self, row: Any) -> int:
        return self._shapes.setdefault(shape_of(row), len(self._shapes))

    def sizes(self, keys: Sequence[Any], kept: list[bytes], rows: Sequence[Any], limit: int) -> list[int]:
        """Return how long rows of which this is kept are when they are encoded one by one, if one may exceed ``limit``.

        Empty: none does.
        """
        if max(map(len, kept)) + self._longer <= limit:
            return []
        return list(map(len, map(add, self._encoder.keys(keys), self.one_by_one(keys, rows))))

    def one_by_one(self, keys: Sequence[Any], rows: Sequence[Any]) -> list[bytes]:
        """Return rows as they are encoded for a block by rows. Raises ``EncodeError``."""
        return self._encoder.rows(keys, rows if self._row_class is None else self._row_class.plain(rows))

    def restored(self, kept: Sequence[bytes]) -> tuple[list[Any], list[Any]]:
        """Return the keys and the rows of which this is kept, of the types in which they are stored."""
        flat = decode(array_header(2 * len(kept)) + b"".join(kept))
        keys, rows = flat[::2], flat[1::2]
        if not self._columns:
            return keys, rows
        first = rows[0][0] if rows else -1
        if first < 0 or any(row[0] != first for row in rows):
            return keys, list(map(self._row, rows))
        shape, ways = self._common[first]
        columns = [
            list(map(forms.restore, repeat(way), values))
            for way, values in zip(ways, list(zip(*rows, strict=True))[1:], strict=True)
        ]
        return keys, shape.rows(columns, frozen=False)

    def block(self, kept: list[bytes]) -> tuple[bytes | None, list[bytes]]:
        """Return the plain form of the block of some rows, or their keys and rows as they are encoded one by one.

        ``kept`` is sorted. Raises one of ``PACKING_ERRORS``.
        """
        if not self._columns:
            return None, kept
        flat = decode(array_header(2 * len(kept)) + b"".join(kept))
        keys, rows = flat[::2], flat[1::2]
        plain = self._plain(keys, rows) if len(rows) >= FEWEST and self.writes_columns else None
        if plain is not None and len(plain) <= self.longest:
            return plain, []
        return None, list(map(add, self._encoder.keys(keys), self._encoded(keys, rows)))

    def _plain(self, keys: list[Any], rows: list[Any]) -> bytes | None:
        first = rows[0][0]
        numbers = {row[0] for row in rows}
        try:
            if len(numbers) == 1 and first >= 0:
                shape, ways = self._common[first]
                return write(shape, ways, keys, list(zip(*rows, strict=True))[1:], self._encoder)
            if len({self._shape_number(number) for number in numbers}) > 1 or self._shape_number(first) == _NO_SHAPE:
                return None
            found = columns_of([self._row(row) for row in rows])
            shortened = None if found is None else self._shortened(*found)
            return None if shortened is None else write(*shortened[0], keys, shortened[1], self._encoder)
        except (*PACKING_ERRORS, ResponseError):
            return None

    def _shape_number(self, number: int) -> int:
        if number < 0:
            return -1 - number
        shape, ways = self._common[number]
        return self._shapes.setdefault((shape, len(ways)), len(self._shapes))

    def _row(self, kept: list[Any]) -> Any:
        """Return a row of which something was kept."""
        number = kept[0]
        if number < 0:
            return decode(kept[1])
        shape, ways = self._common[number]
        values = list(map(forms.restore, ways, kept[1:]))
        return shape.rows([[value] for value in values], frozen=False)[0]

    def _encoded(self, keys: list[Any], rows: list[Any]) -> list[bytes]:
        return [
            row[1] if row[0] < 0 else self._encoder.rows([key], [self._row(row)])[0]
            for key, row in zip(keys, rows, strict=True)
        ]
