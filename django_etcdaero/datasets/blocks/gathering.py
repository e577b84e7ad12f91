"""Rows on their way to their blocks.

The rows of a block are far apart in the sequence in which they come. So they are made short as they come, some hundred
at a time, while they are in the processor's caches, and each block is put together from that: going to the rows again
block by block took 1.4 times as long with 200,000 rows.

What is kept of a row is its encoded key and what :mod:`.short_rows` has of it, so that nearly all blocks are only
joined. Rows of a version may have several shapes, and fields several types; what is kept of those that are not like the
first ones is a MessagePack map of one number: of what they have in common with others, and then it is of their values;
or a negative one, and then it is of the row as it is encoded for a block by rows. Such blocks are made of the values
again. None of this is ever stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import add
from typing import Any, Final, NamedTuple

from django_etcdaero.exceptions import ResponseError

from .codec import PACKING_ERRORS, Encoder, array_header, decode
from .keys import KeyCheck
from .row_class import row_class
from .row_shapes import WIDEST, Shape, columns_of, shape_of
from .short_rows import FEWEST, common_form, is_typical, nests, plain_form, same_or, settled, write
from .short_values import (
    DATES,
    DATETIMES,
    DECIMALS,
    MIXED,
    ONLY_NONE,
    PLAIN_WAY,
    SAME,
    UUIDS,
    Way,
    kinds_of,
    lengthen,
    shorten,
)

_NO_SHAPE: Final = -1
_SHAPES: Final = (1 << 30) - 1
_NONE_IS_NIL: Final = frozenset((DECIMALS, DATES, DATETIMES, UUIDS))
"""Forms in which ``None`` is written as in ``PLAIN``."""


class _Common(NamedTuple):
    """What rows have in common that came together."""

    shape: Shape
    ways: tuple[Way, ...]


class Gathering:
    """Takes the rows of a version and gives the plain forms of its blocks.

    ``by_fields``: rows may be stored field by field; ``longest``: bytes of a block in which they are, and of parts of
    others; ``row_type``: the class of the rows, which are checked then.
    """

    def __init__(self, *, by_fields: bool, longest: int, row_type: type[Any] | None = None) -> None:
        self._row_class = None if row_type is None else row_class(row_type)
        self._by_fields = by_fields
        self.writes_by_fields = by_fields
        """Whether rows are written field by field; may be taken back after rows were taken."""
        self.longest = longest
        self._encoder = Encoder()
        self._check = KeyCheck(self._encoder.zones)
        self._numbers: dict[_Common, int] = {}
        self._commons: list[_Common] = []
        self._only_none: set[int] = set()
        """Fields in which rows that are like the first ones have had nothing but ``None``."""
        self._all_alike = True
        """Whether all rows are like the first ones."""
        self._longer = 0
        self._times = 1
        """A row that is encoded one by one is at most ``_times`` as long as what is kept of it, and ``_longer``."""
        self._common_forms: dict[tuple[Way, ...], bytes] = {}
        """Of rows that are like the first ones."""
        self._usual: dict[tuple[Shape, int], tuple[Way, ...]] = {}

    def keys(self, keys: Sequence[Any]) -> list[bytes]:
        """Return the encodings of keys. Raises ``EncodeError``, also for those that could not be told apart."""
        encoded = self._encoder.keys(keys)
        self._check.check_keys(keys, encoded)
        return encoded

    def rows(self, keys: Sequence[Any], encoded_keys: Sequence[bytes], rows: Sequence[Any]) -> list[bytes]:
        """Return what is kept of rows that came together. Raises ``EncodeError``."""
        found = columns_of(rows) if self._row_class is None else self._row_class.columns_of(rows)
        kinds = [] if found is None else list(map(kinds_of, found[1]))
        if self._row_class is not None:
            if found is None:
                self._row_class.check(keys, self._row_class.plain(rows))
            else:
                self._row_class.check_columns(keys, *found, kinds)
        kept = None if found is None or not self._by_fields else self._short(keys, *found, kinds)
        if kept is None:
            encoded = self.one_by_one(keys, rows)
            self._check.check_rows(keys, rows, lambda: encoded)
            if not self._by_fields:
                return list(map(add, encoded_keys, encoded))
            self._all_alike = False
            pack = self._encoder.scalars
            shapes = map(_shape_number, map(shape_of, rows if self._row_class is None else self._row_class.plain(rows)))
            kept = [pack({shape: data}) for shape, data in zip(shapes, encoded, strict=True)]
        else:
            self._check.check_rows(keys, rows, lambda: self.one_by_one(keys, rows))
        return list(map(add, encoded_keys, kept))

    def _short(
        self, keys: Sequence[Any], shape: Shape, columns: Sequence[Sequence[Any]], kinds: Sequence[frozenset[type]]
    ) -> list[bytes] | None:
        """Return rows as they are kept, without their keys; ``None``: they are encoded one by one."""
        if not 0 < len(columns) <= WIDEST:
            return None
        usual = self._usual.get((shape, len(columns))) or (PLAIN_WAY,) * len(columns)
        encoder = self._encoder
        try:
            shortened = [
                same_or(*shorten(values, each, encoder, way), keys)
                for values, each, way in zip(columns, kinds, usual, strict=True)
            ]
            ways = tuple([way for way, _ in shortened])
            if nests(shape, ways):
                return None
            number = self._number(_Common(shape, ways), kinds)
            pack = encoder.scalars
            rows = zip(*[values for _, values in shortened], strict=True)
            # No map(): other threads get their turn between two rows.
            return [pack({number: row}) for row in rows] if number else [pack(row) for row in rows]
        except (*PACKING_ERRORS, ResponseError):  # whoever writes it row by row names what is wrong
            return None

    def _number(self, common: _Common, kinds: Sequence[frozenset[type]]) -> int:
        """Return the number of what rows have in common; 0 is that of the first ones."""
        number = self._numbers.get(common)
        if number is None:
            number = 0 if self._completes_first(common) else len(self._commons)
            if number:
                self._commons.append(common)
            else:
                self._numbers.clear()
                self._commons[:1] = [common]
                self._numbers = {each: at for at, each in enumerate(self._commons)}
            self._numbers[common] = number
            shape, ways = common
            self._usual[shape, len(ways)] = tuple([PLAIN_WAY if way.form == SAME else way for way in ways])
            names = sum(map(len, map(str.encode, shape.names)))
            self._longer = max(self._longer, names + sum([20 + len(way.zone) for way in ways]))
            self._times = max(self._times, 1 + sum([way.form == SAME for way in ways]))
        if number:
            self._all_alike = False
        elif self._only_none:
            self._only_none = {at for at in self._only_none if kinds[at] == ONLY_NONE}
        return number

    def _completes_first(self, common: _Common) -> bool:
        """Tell whether rows are the first ones, or like them but for fields that were nothing but ``None`` in those."""
        if not self._commons:
            self._only_none = set(range(len(common.ways)))
            return True
        first = self._commons[0]
        return first.shape == common.shape and all(
            one == other or (at in self._only_none and other.form in _NONE_IS_NIL)
            for at, (one, other) in enumerate(zip(first.ways, common.ways, strict=True))
        )

    def sizes(self, keys: Sequence[Any], kept: list[bytes], rows: Sequence[Any], limit: int) -> list[int]:
        """Return how long rows of which this is kept are when they are encoded one by one, if one may exceed ``limit``.

        Empty: none does.
        """
        if max(map(len, kept)) * self._times + self._longer <= limit:
            return []
        return list(map(len, map(add, self._encoder.keys(keys), self.one_by_one(keys, rows))))

    def one_by_one(self, keys: Sequence[Any], rows: Sequence[Any]) -> list[bytes]:
        """Return rows as they are encoded for a block by rows. Raises ``EncodeError``."""
        return self._encoder.rows(keys, rows if self._row_class is None else self._row_class.plain(rows))

    def block(self, kept: list[bytes]) -> tuple[bytes | None, list[bytes]]:
        """Return the plain form of the block of some rows, or their keys and rows as they are encoded one by one.

        ``kept`` is sorted. Raises one of ``PACKING_ERRORS``.
        """
        if not self._by_fields:
            return None, kept
        plain = None
        if self.writes_by_fields and len(kept) >= FEWEST:
            plain = self._joined(kept) if self._all_alike else None
            if plain is None:
                plain = self._written(*_opened(kept))
        if plain is not None and len(plain) <= self.longest:
            return plain, []
        keys, values = _opened(kept)
        return None, list(map(add, self._encoder.keys(keys), self._encoded(keys, values)))

    def restored(self, kept: Sequence[bytes]) -> tuple[Sequence[Any], Sequence[Any]]:
        """Return the keys and rows of which this is kept, of the types in which they are stored."""
        if not self._by_fields:
            flat = decode(array_header(2 * len(kept)) + b"".join(kept))
            return flat[::2], flat[1::2]
        keys, values = _opened(kept)
        return keys, self._rows(keys, values)

    def _joined(self, kept: list[bytes]) -> bytes | None:
        """Return the plain form of a block; ``None`` if that is not what is kept of its rows, joined."""
        shape, ways = self._commons[0]
        (key,), (row,) = _opened(kept[:1])
        if not is_typical(ways, key, row):
            keys, rows = _opened(kept)
            settling = settled(ways, keys, list(zip(*rows, strict=True)))
            if settling is None:
                return None
            ways = settling
        common = self._common_forms.get(ways)
        if common is None:
            common = self._common_forms[ways] = common_form(shape, ways, self._encoder)
        return plain_form(common, kept)

    def _written(self, keys: Sequence[Any], values: Sequence[Any]) -> bytes | None:
        shapes = set(map(self._shape_number, values))
        if len(shapes) > 1 or _NO_SHAPE in shapes:
            return None
        try:
            return write(keys, self._rows(keys, values), self._encoder)
        except (*PACKING_ERRORS, ResponseError):
            return None

    def _shape_number(self, value: Any) -> int:
        number = _number_of(value)
        if number < 0:
            return number
        shape, ways = self._commons[number]
        return _shape_number((shape, len(ways)))

    def _rows(self, keys: Sequence[Any], values: Sequence[Any]) -> list[Any]:
        """Return rows of which something was kept."""
        numbers = set(map(_number_of, values))
        if len(numbers) > 1:
            return [self._rows([key], [value])[0] for key, value in zip(keys, values, strict=True)]
        number = numbers.pop() if numbers else _NO_SHAPE
        if number:
            values = [value[number] for value in values]
        if number < 0:
            return list(map(decode, values))
        shape, ways = self._commons[number]
        columns = [
            keys if form == SAME else column if form == MIXED else lengthen(form, zone, column, frozen=False)
            for (form, zone), column in zip(ways, list(zip(*values, strict=True)), strict=True)
        ]
        return shape.rows(columns, frozen=False)

    def _encoded(self, keys: Sequence[Any], values: Sequence[Any]) -> list[bytes]:
        return [
            value[number] if number < 0 else self._encoder.rows([key], self._rows([key], [value]))[0]
            for key, value, number in zip(keys, values, map(_number_of, values), strict=True)
        ]


def _opened(kept: Sequence[bytes]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return the keys, and what is kept of the rows: a tuple of their values, or a dict of a number and that."""
    flat = decode(array_header(2 * len(kept)) + b"".join(kept), tuples=True)
    return flat[::2], flat[1::2]


def _number_of(value: Any) -> int:
    number: int = 0 if type(value) is tuple else next(iter(value))
    return number


def _shape_number(shape: tuple[Shape, int] | None) -> int:
    """Return a negative number that is the same for rows of one shape, and seldom for others."""
    return _NO_SHAPE if shape is None else -2 - (hash(shape) & _SHAPES)
