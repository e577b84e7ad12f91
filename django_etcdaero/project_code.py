"""Code of the project (``load()``, ``prepare()``, receivers of signals) in threads of this package.

Such a thread serves one dataset after the other, for as long as the process lives. What one of them leaves behind must
not reach the next: a database connection that the server has closed meanwhile, a language or a time zone that was
activated, variables of a context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import Context
from typing import Any, TypeVar

from django.db import DatabaseError, connections

T = TypeVar("T")


def run_project_code(function: Callable[[], T]) -> T:
    """Call ``function`` in this thread as if nothing had run in it before; return what it returns.

    It runs in an empty context (``contextvars``), where Django's language and time zone are those of the settings.
    Database connections that are too old or broken are closed before, all of this thread after it, but for those in the
    middle of a transaction, which belong to whoever began that. Raises what ``function`` raises.
    """
    close_old_connections()
    try:
        return Context().run(function)
    finally:
        close_connections()


def close_old_connections() -> None:
    """Close the database connections of this thread that are too old or broken, but for those in a transaction.

    Django's own function of this name closes those, too.
    """
    for connection in _outside_transactions():
        connection.close_if_unusable_or_obsolete()


def close_connections() -> None:
    """Close the database connections of this thread, but for those in a transaction."""
    for connection in _outside_transactions():
        connection.close()


def _outside_transactions() -> Iterator[Any]:
    return (each for each in connections.all(initialized_only=True) if _is_ours(each) and not each.in_atomic_block)


def _is_ours(connection: Any) -> bool:
    """Tell whether a connection is of this thread, which any is that Django keeps for it.

    Not so where Django was imported before gevent patched ``threading.local`` (gunicorn with ``--preload``): there all
    greenlets find the same connections, and Django refuses them to all but the one that has made them.
    """
    try:
        connection.validate_thread_sharing()
    except DatabaseError:
        return False
    return True
