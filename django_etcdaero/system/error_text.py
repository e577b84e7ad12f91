"""What an error says, in one line; a project's error may not even be able to say it."""

from __future__ import annotations


def message_of(error: BaseException) -> str:
    """Return the error's message, its type if it has none."""
    return _message(error) or type(error).__name__


def text_of(error: BaseException) -> str:
    """Return the error's type and message, as status and results show it."""
    name, message = type(error).__name__, _message(error)
    return f"{name}: {message}" if message else name


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as problem:
        return f"its text raises {type(problem).__name__}"
