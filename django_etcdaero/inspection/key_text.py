"""Keys as text that can be typed, linked to and read: any bytes, without loss.

Printable UTF-8 stands for itself. All else (control characters, marks that turn the direction of text round, bytes that
are no UTF-8) is ``\\x`` with two hexadecimal digits for each byte, and a backslash is two.
"""

from __future__ import annotations

import re

from django_etcdaero.exceptions import InvalidRequest

_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|\\|.?)", re.DOTALL)


def key_text(key: bytes) -> str:
    """Return a key as text; :func:`key_bytes` is the inverse."""
    text = key.decode(errors="surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_shown, text))


def key_bytes(text: str) -> bytes:
    """Return the key that a text says. Raises ``InvalidRequest`` for a backslash that begins nothing known."""
    parts, end = [], 0
    for match in _ESCAPE.finditer(text):
        escape = match[1]
        parts.append(_encoded(text[end : match.start()]))
        if escape == "\\":
            parts.append(b"\\")
        elif escape[:1] == "x" and len(escape) == 3:
            parts.append(bytes([int(escape[1:], 16)]))
        else:
            raise InvalidRequest(f"in a key a backslash is written \\\\, and a byte \\x41; not \\{escape}")
        end = match.end()
    return b"".join([*parts, _encoded(text[end:])])


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # what a shell made of arguments that are no UTF-8
        return text.encode(errors="surrogateescape")


def _shown(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode(errors="surrogateescape"))
