"""What messages may show of a wrong value in the settings, which may be a password."""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Za-z][A-Za-z _.-]{0,39}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?( ?[A-Za-z]{1,3})?")
_NAME = re.compile(r"[A-Za-z0-9_./ -]{1,40}")


def shown(value: object) -> str:
    """Return what a message may show of a wrong value: a number or a word as it is, of all else what it is.

    Somebody may have written a password, or a URL with one, into the wrong setting.
    """
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, str):
        told = _WORD.fullmatch(value) or _NUMBER.fullmatch(value) or not value
        return repr(value) if told else f"a str of {len(value)} characters"
    return f"a value of type {type(value).__name__}"


def shown_name(name: object) -> str:
    """Return what a message may show of an unknown name, of a key or an alias: as :func:`shown`, and more."""
    return repr(name) if isinstance(name, str) and _NAME.fullmatch(name) else shown(name)
