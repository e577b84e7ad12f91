"""Folding: "São Paulo", "SAO  PAULO" and "sao-paulo" are the same to somebody who searches."""

from __future__ import annotations

import unicodedata
from typing import Final

# Latin letters that have no decomposition into a base letter and an accent.
_LETTERS: Final = str.maketrans({
    "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D",
    "þ": "th", "Þ": "Th", "ł": "l", "Ł": "L", "ħ": "h", "Ħ": "H", "ı": "i", "ŧ": "t", "Ŧ": "T", "ŋ": "ng", "Ŋ": "Ng",  # noqa: RUF001
    "ə": "a", "Ə": "A", "’": "'", "‘": "'", "ʻ": "'", "ʼ": "'", "ʾ": "'", "ʿ": "'", "–": "-",  # noqa: RUF001
})  # fmt: skip


def without_accents(text: str) -> str:
    """Return ``text`` with its accents removed; scripts other than Latin keep their letters."""
    decomposed = unicodedata.normalize("NFKD", text.translate(_LETTERS))
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def to_ascii(text: str) -> str:
    """Return ``text`` in ASCII, or ``""`` when letters would be lost."""
    plain = without_accents(text)
    return plain if plain.isascii() else ""


def fold(text: str) -> str:
    """Return the form in which names are compared: no accents, no case, words of letters and digits."""
    plain = without_accents(text).casefold()
    if not plain.replace(" ", "").isalnum():
        # Marks that are part of a letter (Indic vowel signs) stay; apostrophes and all other signs end a word.
        plain = "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in plain)
    return " ".join(plain.split())
