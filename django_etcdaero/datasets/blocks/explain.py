"""Why a value cannot be stored: found by looking at it piece by piece, after the fast way has failed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time, timezone
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from .scalars import PACK, packing
from .stored_as import as_plain

_CONTAINERS = (list, tuple, dict, set, frozenset)
_SCALARS = (bool, int, float, str, bytes, *PACK)
_STORED = (*_SCALARS, *_CONTAINERS)
MAX_DEPTH = 500
"""How deep lists and dicts may be nested in each other. The unpacker's own limit is 1024, the packer's the same or 511
(msgpack before 1.1), not counting what the value is in: this keeps away from all of them."""

_BY_ROW_TYPE = ", and name the class in row_type if it is that of the rows"
_SHOWN = 120


class _Piece(NamedTuple):
    value: Any
    parent: _Piece | None
    step: str
    """How the piece is reached from its parent, as in source code."""

    @property
    def path(self) -> str:
        steps: list[str] = []
        piece: _Piece | None = self
        while piece is not None:
            steps.append(piece.step)
            piece = piece.parent
        return "".join(reversed(steps))

    @property
    def depth(self) -> int:
        """Number of pieces above, or -1 when this very object is one of them."""
        depth, piece = 0, self.parent
        while piece is not None:
            if piece.value is self.value:
                return -1
            depth, piece = depth + 1, piece.parent
        return depth


def shown(value: Any) -> str:
    """Return a short repr for messages; foreign objects show their type only: a repr of theirs may run queries."""
    value = as_plain(value)
    kind = type(value)
    plain = value is None or kind in _STORED
    if not plain or (kind in _CONTAINERS and any(item is not None and type(item) not in _SCALARS for item in value)):
        return f"<{_name(kind)}>"
    try:
        text = repr(value)
    except ValueError:  # an int with more digits than sys.get_int_max_str_digits()
        return f"<{_name(kind)} with very many digits>"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def explain(key: Any, value: Any, place: str, error: Exception) -> str:
    """Say what in ``value`` cannot be stored, in one line: the row's key, the place, the type, and what to do.

    ``place`` says what ``value`` is when it is not the row itself. ``error`` is what the packer said; it is repeated
    when nothing wrong is found.
    """
    row = f"row {shown(key)}"
    pieces = [_Piece(value, None, "")]
    while pieces:
        piece = pieces.pop()
        reason = _reason(piece)
        if reason is not None:
            where = " ".join(filter(None, (place, f"at {piece.path}" if piece.path else "")))
            return f"{row}{', ' if place else ' ' if where else ''}{where}: {reason}"
        pieces.extend(reversed(list(_children(piece))))
    return f"{row}{', ' if place else ''}{place}: {error}"


def _children(piece: _Piece) -> Iterator[_Piece]:
    value = as_plain(piece.value)
    if type(value) is dict:
        for key, item in value.items():
            yield _Piece(key, piece, f"<key {shown(key)}>")
            yield _Piece(item, piece, f"[{shown(key)}]")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            yield _Piece(item, piece, f"[{index}]")
    elif type(value) in (set, frozenset):
        for item in value:
            yield _Piece(item, piece, f"<element {shown(item)}>")


def _reason(piece: _Piece) -> str | None:
    value = as_plain(piece.value)
    kind = type(value)
    if kind in _CONTAINERS:
        depth = piece.depth
        if depth < 0:
            return f"the {kind.__name__} contains itself"
        return f"nested more than {MAX_DEPTH} deep" if depth > MAX_DEPTH else None
    packed = packing(kind)
    if packed is not None:
        try:
            packed[1](value)
        except (TypeError, ValueError, OverflowError) as error:
            return f"{_name(kind)} cannot be stored: {error}; {_hint(value)}"
        return None
    if value is None or kind in _STORED:
        return None
    return f"{_name(kind)} cannot be stored; {_hint(value)}"


def _hint(value: Any) -> str:
    kind = type(value)
    if isinstance(value, (datetime, time)) and value.tzinfo is not None:
        zones = f"{timezone.__module__}.{timezone.__qualname__} (a fixed offset) or {_name(ZoneInfo)} with a key"
        return f"use {zones} as its time zone"
    if kind.__module__ == "django.utils.functional":
        return "it is lazy: make it a str (or another plain value) while loading"
    if hasattr(kind, "_meta") and hasattr(kind, "pk"):
        return "store plain values of the model's fields, for example with QuerySet.values()"
    if hasattr(kind, "_member_map_"):
        return "store the enum member's value"
    if kind in (bytearray, memoryview):
        return "convert it with bytes()"
    if hasattr(kind, "__dataclass_fields__"):
        return f"convert it with dataclasses.asdict(){_BY_ROW_TYPE}"
    for stored in _STORED:
        if isinstance(value, stored):
            named = _BY_ROW_TYPE if hasattr(kind, "_make") else ""
            return (
                f"it is a subclass of {stored.__name__} and would come back as a plain one:"
                f" convert it with {stored.__name__}(){named}"
            )
    if hasattr(kind, "keys") and hasattr(kind, "__getitem__"):
        return "convert it with dict()"
    if hasattr(kind, "chunks"):  # Django's File: that of a FileField, an upload
        return "store its name or its URL, or what it holds, as bytes"
    if hasattr(kind, "__next__") or hasattr(kind, "__iter__"):
        return "convert it with list()"
    return "convert it to a type that rows may contain, such as str, int, Decimal, datetime, list or dict"


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
