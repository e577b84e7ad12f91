"""Keys and names as text that can be typed, shown, and read back: bytes that are no text are written as ``%ff``."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes


def text_of_key(key: bytes) -> str:
    """Return a key as text. :func:`key_of_text` is the inverse."""
    text = key.decode(errors="surrogateescape")
    if text.isprintable() and "%" not in text:
        return text
    return "".join(_written(each) for each in text)


def key_of_text(text: str) -> bytes:
    """Return the key that is written as ``text``."""
    return unquote_to_bytes(text)


def _written(character: str) -> str:
    if character.isprintable() and character != "%":
        return character
    return "".join(f"%{byte:02x}" for byte in character.encode(errors="surrogateescape"))
