"""Values of caches as text for people. Nothing that could run code is called: what was pickled stays bytes."""

from __future__ import annotations

import json
import pprint
from typing import Any, Final, NamedTuple

from django_etcdaero.cache import serializers
from django_etcdaero.cache.stored_entry import INTEGER, StoredEntry

MAX_TEXT: Final = 20_000
"""Characters that are shown of a value."""
MAX_HEX: Final = 1024
"""Bytes that are shown of a value that is not decoded."""

_PICKLED: Final = (serializers.SIGNED_PICKLE.name, serializers.UNSIGNED_PICKLE.name)


class ValueText(NamedTuple):
    """A value as text."""

    form: str
    """``"integer"``, ``"json"``, ``"msgpack"``, ``"pickle"`` or ``"bytes"``; the last two are told in hexadecimal."""
    text: str
    size: int
    """Bytes of the value before it was compressed."""
    cut: bool
    """Not all of it is in ``text``."""


def value_text(entry: StoredEntry) -> ValueText | None:
    """Return the value of an entry as text; ``None``: it cannot be had."""
    content = entry.content
    if content is None:
        return None
    if isinstance(content, int):
        return ValueText(INTEGER, str(content), entry.size, False)
    text = None
    if entry.serializer == serializers.JSON.name:
        text = _json(content)
    elif entry.serializer == serializers.MSGPACK.name:
        text = _msgpack(content)
    if text is not None:
        return ValueText(entry.serializer, text[:MAX_TEXT], len(content), len(text) > MAX_TEXT)
    form = "pickle" if entry.serializer in _PICKLED else "bytes"
    return ValueText(form, hex_dump(content[:MAX_HEX]), len(content), len(content) > MAX_HEX)


def hex_dump(data: bytes) -> str:
    """Return bytes in lines of sixteen: where they begin, each in hexadecimal, and those that are printable ASCII."""
    lines = []
    for start in range(0, len(data), 16):
        part = data[start : start + 16]
        printable = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{start:08x}  {part.hex(' '):<47}  {printable}")
    return "\n".join(lines)


def _json(content: bytes) -> str | None:
    try:
        value = json.loads(content.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return None
    return json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def _msgpack(content: bytes) -> str | None:
    try:
        value: Any = serializers.MSGPACK.loads(content)
    except Exception:  # msgpack has errors of its own, and it may not be there
        return None
    return pprint.pformat(value, width=100, sort_dicts=False).encode("utf-8", "backslashreplace").decode()
