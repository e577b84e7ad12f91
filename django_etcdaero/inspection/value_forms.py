"""Values for people: text, JSON, MessagePack or hexadecimal, up to a size. Nothing in them is ever executed."""

from __future__ import annotations

import json
import pprint
from dataclasses import dataclass
from typing import Any, Final

import msgpack

FORMS: Final = ("text", "json", "msgpack", "hex")
MOST_TEXT = 64 * 1024
"""Bytes of a value that are shown as text."""
MOST_HEX = 4 * 1024
"""Bytes of a value that are shown in hexadecimal."""
MOST_PARSED = 256 * 1024
"""Bytes of a value that is read as JSON or MessagePack; a larger one is shown as text or in hexadecimal."""
_ROW = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownValue:
    """A value as text without control characters other than line ends and tabs."""

    form: str
    """One of :data:`FORMS`."""
    text: str
    size: int
    """Bytes of the value."""
    shown: int
    """Bytes of the value that ``text`` is about."""
    forms: tuple[str, ...]
    """In which it can be shown."""

    @property
    def is_cut(self) -> bool:
        return self.shown < self.size


def show_value(value: bytes, form: str | None = None) -> ShownValue:
    """Show a value in ``form``, or in the one that says most where that is not possible or not asked for."""
    made = {"json": _json(value), "msgpack": _msgpack(value), "text": _text(value)}
    forms = tuple(each for each in FORMS if each == "hex" or made.get(each) is not None)
    best = next(each for each in ("json", "text", "msgpack", "hex") if each in forms)
    chosen = form if form in forms else best
    if chosen == "hex":
        return ShownValue(
            form="hex",
            text=hex_rows(value[:MOST_HEX]),
            size=len(value),
            shown=min(len(value), MOST_HEX),
            forms=forms,
        )
    text = made[chosen]
    assert text is not None
    cut = text.encode()[:MOST_TEXT].decode(errors="ignore")
    shown = len(value) if len(cut) == len(text) else min(len(value), MOST_TEXT)
    return ShownValue(form=chosen, text=visible(cut), size=len(value), shown=shown, forms=forms)


def visible(text: str) -> str:
    """Return text in which what cannot be seen, or turns the direction of writing round, is written as ``\\uXXXX``."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in "\n\t" else f"\\x{ord(each):02x}" if ord(each) < 256 else _escaped(each)
        for each in text
    )


def _escaped(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode()


def hex_rows(value: bytes) -> str:
    """Return rows of 16 bytes: where they are, in hexadecimal, and as ASCII."""
    rows = []
    for begin in range(0, len(value), _ROW):
        part = value[begin : begin + _ROW]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        rows.append(f"{begin:08x}  {part.hex(' '):<{3 * _ROW - 1}}  {text}")
    return "\n".join(rows)


def _text(value: bytes) -> str | None:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _json(value: bytes) -> str | None:
    """Return JSON objects and arrays with line breaks; ``None`` if it is none, or would lose something by it."""
    if value[:1] not in (b"{", b"[") or len(value) > MOST_PARSED:
        return None
    try:
        found = json.loads(value.decode(), object_pairs_hook=_without_doubles, parse_constant=_refuse)
        return json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _msgpack(value: bytes) -> str | None:
    """Return MessagePack maps and arrays as Python would write them; anything shorter is rather taken for text."""
    first = value[0] if value else 0
    container = 0x80 <= first <= 0x9F or 0xDC <= first <= 0xDF
    if not container or len(value) > MOST_PARSED:
        return None
    try:
        found = msgpack.unpackb(value, raw=False, strict_map_key=False)
        return pprint.pformat(found, width=100, sort_dicts=False)
    except (ValueError, RecursionError, TypeError, msgpack.exceptions.UnpackException):
        return None
