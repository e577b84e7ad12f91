"""A function that another thread calls as if it were called here."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any, TypeVar

import asgiref.sync

T = TypeVar("T")

_restore: Callable[[contextvars.Context], Any] | None = getattr(asgiref.sync, "_restore_context", None)


def as_here(function: Callable[[], T]) -> Callable[[], T]:
    """Return what calls ``function`` with the context that there is now: language, time zone, the project's own.

    Copying the context variables is not enough: since asgiref 3.13 what Django keeps in them belongs to a thread,
    unless asgiref itself hands it on.
    """
    context = contextvars.copy_context()
    if _restore is None:
        return lambda: context.run(function)
    restore = _restore

    def call() -> T:
        restore(context)
        return function()

    return lambda: contextvars.Context().run(call)
