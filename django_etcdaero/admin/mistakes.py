"""What an address asks for and cannot be understood, in words for the top of the page."""

from __future__ import annotations

from django import forms
from django.utils.text import capfirst
from django.utils.translation import gettext

LONGEST = 40
"""Characters of what was asked for that are repeated."""


def brief(text: str) -> str:
    """Return what was asked for, cut to fit a message."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def mistakes_of(form: forms.Form) -> list[str]:
    """Return the errors of a form that an address fills, each with the field that it is about."""
    return [
        ": ".join(filter(None, (str(capfirst(form[name].label) if name in form.fields else ""), str(error))))
        for name, errors in form.errors.items()
        for error in errors
    ]


def number_of(text: str, label: object, mistakes: list[str]) -> int:
    """Return a number of an address, 0 if it is none or too large for a store, which ``mistakes`` then tell."""
    text = text.strip()
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1
    if 0 <= number < 2**63:
        return number
    if text:
        words = gettext("%(field)s: “%(text)s” is no number that a store has.")
        mistakes.append(words % {"field": str(label), "text": brief(text)})
    return 0
