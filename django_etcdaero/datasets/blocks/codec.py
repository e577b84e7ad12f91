"""Rows to bytes and back, losing no type that a row of Django's has.

The encoding is MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md) with the extension types listed in
:mod:`.scalars`. It is canonical: equal values of equal types give equal bytes in every process, on every platform,
with every supported Python. Sets are sorted by the encodings of their elements; the order of a dict is data and kept;
nothing depends on ``hash()``. Reading executes nothing: it makes values of the types listed there, and no others.

Stored are None, bool, int, float, str, bytes, Decimal, UUID, date, time, datetime, timedelta, list, tuple, dict, set
and frozenset, of exactly these classes, and what :mod:`.stored_as` knows to be one of them. Other subclasses are
refused like everything else, because they would come back as something else: the error says which row, where in it, and
what to do.

On CPython 3.12 text that is a dict's key INSIDE a row stays in memory for ever once it was read (the unpacker interns
it, and there interned means immortal): keep names there, not data. The rows' own keys are not concerned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo
from functools import cached_property
from gc import get_referents
from itertools import pairwise
from typing import Any, Final

import msgpack

from django_etcdaero.exceptions import EncodeError

from .digests import DamagedRecord
from .explain import MAX_DEPTH, explain
from .frozen import FrozenDict, FrozenList, frozen_dict, frozen_list
from .scalars import DATETIME, FROZENSET, SET, TUPLE, UNPACK, packing
from .stored_as import as_plain

CODEC_VERSION: Final = 4
"""Raised when rows are encoded in another way, so that older code refuses what it cannot read. With 2 blocks by columns
were written (:mod:`.columns`)."""
ROWS_CODEC: Final = 1
"""What a version is written with in which all is written row by row: older code reads it."""
SHORT_ROWS_CODEC: Final = 3
"""What one is written with that has blocks of short rows (:mod:`.short_rows`)."""
DELTA_CODEC: Final = 4
"""What one is written with that has deltas which are written field by field (:mod:`.delta`)."""

MAX_LEVELS: Final = 16
"""How deep tuples, sets and frozensets may be nested in each other. Each level costs a reader about 50 KB of C stack
(the unpacker's state), so this stays below 1 MB."""

# The C packer takes these although they would come back as something else.
_TAKEN_FOR_OTHERS: Final = frozenset((bytearray, memoryview, msgpack.ExtType, msgpack.Timestamp))

_DESCENDED: Final = frozenset((dict, list, FrozenDict, FrozenList))

_READ: Final = frozenset((dict, list, tuple, set, frozenset, FrozenDict, FrozenList))

_PACKED: Final = frozenset((dict, list, str))

_LOOKED_AT: Final = _TAKEN_FOR_OTHERS | _DESCENDED

PACKING_ERRORS: Final = (TypeError, ValueError, OverflowError, RecursionError)

UNPACKING_ERRORS: Final = (TypeError, ValueError, OverflowError, ArithmeticError, RecursionError)

_extension = msgpack.ExtType._make  # half the cost of calling the class, which checks its arguments


def array_header(length: int) -> bytes:
    """Return the MessagePack header of an array of ``length`` elements."""
    if length < 16:
        return bytes((0x90 | length,))
    if length < 65_536:
        return b"\xdc" + length.to_bytes(2, "big")
    return b"\xdd" + length.to_bytes(4, "big")


class Encoder:
    """Encodes keys and rows. For one thread at a time: a packer has one buffer."""

    def __init__(self) -> None:
        self.zones: set[tzinfo | None] = set()
        """Those of all datetimes so far."""
        self._level = _Level(1, None, self.zones)
        # Text with lone surrogates is rare, and allowing it costs a copy of every string.
        self._any_text = _Level(1, "surrogatepass", self.zones)
        # Not strict, so that a tuple is an array: whoever uses it knows the types.
        self._scalars: Callable[[Any], bytes] = msgpack.Packer(default=self._level.extend, buf_size=16_384).pack

    def encode(self, keys: Sequence[Any], rows: Sequence[Any]) -> tuple[list[bytes], list[bytes]]:
        """Return the encodings of ``keys`` and of the ``rows`` that belong to them, in the same order.

        Raises ``EncodeError`` naming the first row that cannot be stored.
        """
        return self.keys(keys), self.rows(keys, rows)

    def keys(self, keys: Sequence[Any]) -> list[bytes]:
        """Return the encodings of ``keys``. Raises ``EncodeError`` naming one that cannot be stored."""
        try:
            return self._level.pack_each(keys)
        except PACKING_ERRORS:
            return [self._patiently(key, key, "the row's key") for key in keys]

    def rows(self, keys: Sequence[Any], rows: Sequence[Any]) -> list[bytes]:
        """Return the encodings of the ``rows`` of ``keys``. Raises ``EncodeError`` naming one that cannot be stored."""
        try:
            return self._level.pack_each(rows)
        except PACKING_ERRORS:
            return [self._patiently(key, row, "") for key, row in zip(keys, rows, strict=True)]

    def scalars(self, value: Any) -> bytes:
        """Return the encoding of scalars in lists or tuples, all as lists. Raises one of ``PACKING_ERRORS``."""
        return self._scalars(value)

    def each(self, values: Sequence[Any]) -> list[bytes]:
        """Return the encodings of values that are fields of rows. Raises one of ``PACKING_ERRORS``."""
        packed = self._level.pack_each(values)
        _inspect([list(values)])  # as deep as they are in a row
        return packed

    def _patiently(self, key: Any, value: Any, place: str) -> bytes:
        try:
            return self._any_text.pack_each((value,))[0]
        except PACKING_ERRORS as error:
            raise EncodeError(explain(key, value, place, error)) from error


class _Level:
    """A packer for one level of nested tuples and sets, as a packer cannot be used while it is packing."""

    def __init__(self, level: int, unicode_errors: str | None, zones: set[tzinfo | None]) -> None:
        self._level = level
        self._zones = zones
        self._unicode_errors = unicode_errors
        self._pack: Callable[[Any], bytes] = msgpack.Packer(
            default=self.extend, strict_types=True, unicode_errors=unicode_errors, buf_size=16_384
        ).pack

    @cached_property
    def _inner(self) -> _Level:
        if self._level > MAX_LEVELS:
            raise ValueError(f"tuples and sets may be nested {MAX_LEVELS} deep")
        return _Level(self._level + 1, self._unicode_errors, self._zones)

    def pack_each(self, values: Iterable[Any]) -> list[bytes]:
        """Return the encodings of ``values``. Raises one of ``PACKING_ERRORS``."""
        pack = self._pack
        # A comprehension, not map(): other threads get their turn between two values.
        packed = [pack(value) for value in values]
        # After packing, because that has found circular structures.
        _inspect(values)
        return packed

    def extend(self, value: Any) -> Any:
        """Return what MessagePack has a form for."""
        kind = type(value)
        scalar = packing(kind)
        if scalar is not None:
            code, pack = scalar
            if code == DATETIME:
                self._zones.add(value.tzinfo)
            return _extension((code, pack(value)))
        if kind is tuple:
            return _extension((TUPLE, array_header(len(value)) + b"".join(self._inner.pack_each(value))))
        if kind is set or kind is frozenset:
            elements = sorted(self._inner.pack_each(value))
            code = SET if kind is set else FROZENSET
            return _extension((code, array_header(len(elements)) + b"".join(elements)))
        plain = as_plain(value)
        if plain is value:
            raise TypeError(f"{kind.__module__}.{kind.__qualname__} cannot be stored")
        return plain if type(plain) in _PACKED else self.extend(plain)


def _inspect(values: Iterable[Any]) -> None:
    """Find types that the packer would silently replace, and what is nested too deep to be read, without running Python
    code for each value.

    The packer itself descends into dicts and lists only; whatever is in other containers has been through here already.
    The garbage collector's view of a dict or list is its content (CPython leaves out keys that are all text), and is
    the fastest way to it: half the cost of iterating.
    """
    level = values
    for _ in range(MAX_DEPTH + 1):
        if _LOOKED_AT.isdisjoint(map(type, level)):
            return
        kinds = set(map(type, level))
        if not kinds.isdisjoint(_TAKEN_FOR_OTHERS):
            raise TypeError("a type that would come back as another")
        if not kinds <= _DESCENDED:
            level = [value for value in level if type(value) in _DESCENDED]
        level = get_referents(*level)
    raise ValueError(f"nested more than {MAX_DEPTH} deep")


# --- reading ---------------------------------------------------------------------------------------------------------


def decode(data: bytes, *, frozen: bool = False, tuples: bool = False, rows: bool = True) -> Any:
    """Return the one value that ``data`` encodes; if ``frozen`` with the containers of :mod:`.frozen`.

    ``tuples``: arrays come as tuples, and not as lists; not together with ``frozen``.
    ``rows`` false is for what the caller checks field by field: MessagePack's own timestamps are then not looked for.

    Raises ``DamagedRecord`` for anything but one whole value: truncated or trailing bytes, unknown extension types,
    unhashable keys, lengths beyond the data. Raises ``ResponseError`` when this machine lacks a time zone.
    """
    try:
        value = _unpack(data, 1, frozen, tuples)
        # MessagePack's own timestamp (extension type -1, of 4, 8 or 12 bytes) is decoded without asking the hook. Its
        # headers rarely appear by chance; so the values are looked at only where one does. Many lack the byte
        # that they end with, and one byte is found thirty times as fast as two.
        if (
            rows
            and b"\xff" in data
            and (b"\xd6\xff" in data or b"\xd7\xff" in data or b"\x0c\xff" in data)
            and _holds_timestamp(value)
        ):
            raise DamagedRecord("it holds a MessagePack timestamp, which is never written")
    except UNPACKING_ERRORS as error:
        raise DamagedRecord(f"it does not decode: {error}") from error
    return value


def split(data: bytes) -> list[bytes]:
    """Return the encodings of the elements of an array, or of the keys and values of a map in turn, undecoded.

    ``data`` was checked against its digest. Raises ``DamagedRecord`` when it is neither.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=len(data))
    unpacker.feed(data)
    is_map = data[:1] and (data[0] & 0xF0 == 0x80 or data[0] in (0xDE, 0xDF))
    try:
        count = 2 * unpacker.read_map_header() if is_map else unpacker.read_array_header()
        bounds = [unpacker.tell()]
        for _ in range(count):
            unpacker.skip()
            bounds.append(unpacker.tell())
    except (ValueError, msgpack.OutOfData) as error:
        raise DamagedRecord(f"it does not decode: {error}") from error
    return [data[begin:end] for begin, end in pairwise(bounds)]


def _unpack(data: bytes, level: int, frozen: bool, tuples: bool = False) -> Any:
    return msgpack.unpackb(
        data,
        use_list=not tuples,
        object_hook=frozen_dict if frozen else None,
        list_hook=frozen_list if frozen else None,
        ext_hook=_HOOKS[frozen][level],
        strict_map_key=False,
        unicode_errors="surrogatepass",
    )


def _hook(level: int, frozen: bool) -> Callable[[int, bytes], Any]:
    """Return the reader of extension types at one level of nesting; it knows its level without any shared state."""

    def extension(code: int, data: bytes) -> Any:
        scalar = UNPACK.get(code)
        if scalar is not None:
            return scalar(data)
        if code not in (TUPLE, SET, FROZENSET):
            raise DamagedRecord(f"unknown extension type {code}: damaged, or written by a newer version")
        if level > MAX_LEVELS:
            raise DamagedRecord(f"tuples and sets nested more than {MAX_LEVELS} deep")
        elements = _unpack(data, level + 1, frozen)
        if not isinstance(elements, list):
            raise DamagedRecord("a tuple or set is not written as an array")
        if code == TUPLE:
            return tuple(elements)
        return set(elements) if code == SET and not frozen else frozenset(elements)

    return extension


_HOOKS: Final = {frozen: [_hook(level, frozen) for level in range(MAX_LEVELS + 2)] for frozen in (False, True)}


def _holds_timestamp(value: Any) -> bool:
    level: Sequence[Any] = [value]
    while level:
        if msgpack.Timestamp in set(map(type, level)):
            return True
        # As in _inspect. Keys that the collector's view leaves out are text.
        level = get_referents(*[each for each in level if type(each) in _READ])
    return False
