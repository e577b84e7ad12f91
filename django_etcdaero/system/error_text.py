"""What an error says, in one line; a project's error may not even be able to say it.

What :func:`printable` returns can be written to any terminal and file in UTF-8: lone surrogates cannot.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """Return ``text`` with lone surrogates as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def message_of(error: BaseException) -> str:
    """Return the error's message, its type if it has none."""
    return _message(error) or type(error).__name__


def text_of(error: BaseException) -> str:
    """Return the error's type and message, as status and results show it."""
    name, message = type(error).__name__, _message(error)
    return f"{name}: {message}" if message else name


def _message(error: BaseException) -> str:
    try:
        return printable(str(error))
    except Exception as problem:
        return f"its text raises {type(problem).__name__}"
