"""Transactions of the project's databases: whether this thread has one open, and what to do when it is committed.

Only databases that this thread has used are looked at, and none is connected to. The blocks that Django's ``TestCase``
wraps around each test (pytest-django's ``db`` is one) do not count: they stand for a database that is left as it was,
and the code under test is in no transaction as far as it knows.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from .exceptions import RefreshInTransaction


def open_transaction() -> str | None:
    """See :meth:`.datasets.host.Host.open_transaction`."""
    return next((each.alias for each in _used() if _in_block(each) or _by_hand(each)), None)


def on_commit(function: Callable[[], object]) -> Callable[[], bool] | None:
    """See :meth:`.datasets.host.Host.on_commit`."""
    used = list(_used())
    by_hand = next((each.alias for each in used if not _in_block(each) and _by_hand(each)), None)
    if by_hand is not None:
        raise RefreshInTransaction(
            f"autocommit of the database {by_hand!r} is switched off and a transaction is open, so nobody tells when "
            "it is committed: do this after your commit()"
        )
    waiting = [_call_at_commit(each, function) for each in used if _in_block(each)]
    return (lambda: any(each() for each in waiting)) if waiting else None


def _call_at_commit(connection: Any, function: Callable[[], object]) -> Callable[[], bool]:
    """Register ``function``; return what tells whether it may still be called."""
    called: list[bool] = []

    def call() -> None:
        try:
            function()
        finally:
            called.append(True)

    call.__qualname__ = getattr(function, "__qualname__", "a function")  # Django names it when it fails
    # Nobody but Django keeps it alive: it drops it at a rollback, also at one to a savepoint, and tells nobody.
    kept = weakref.ref(call)
    connection.on_commit(call, robust=True)
    return lambda: not called and kept() is not None


def _used() -> Iterator[Any]:
    """The connections of this thread; whether they are open, too."""
    try:
        yield from connections.all(initialized_only=True)
    except ImproperlyConfigured:  # of a project that uses no database nobody wants to hear of it
        return


def _in_block(connection: Any) -> bool:
    """Whether it is in an atomic block that is not a test's own."""
    if not connection.in_atomic_block:
        return False
    blocks = connection.atomic_blocks
    return not blocks or any(not getattr(block, "_from_testcase", False) for block in blocks)


def _by_hand(connection: Any) -> bool:
    """Whether autocommit is switched off, and the driver does not say that no transaction is open."""
    driver = connection.connection
    if driver is None or connection.autocommit or connection.in_atomic_block:
        return False
    info = getattr(driver, "info", None)  # of psycopg
    status = getattr(info, "transaction_status", None)
    in_transaction = getattr(driver, "in_transaction", None)  # of sqlite3
    return bool(in_transaction if status is None and in_transaction is not None else status != 0)
