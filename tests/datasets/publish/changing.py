"""A source that tells what has changed since a moment, and datasets that are loaded from it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from django_etcdaero import Changes


class Table:
    """Rows, and a list of what was done to them. A cursor is the length of that list."""

    def __init__(self, rows: dict[Any, Any]) -> None:
        self.rows = dict(rows)
        self.log: list[Any] = []
        self.calls: list[str] = []
        """What was read: ``"all"``, ``"changes"``, ``"keys"``."""
        self.silent = False
        """Whether what is done is told by nobody."""
        self.everything = False
        """Whether ``load_changes()`` says that everything is to be loaded."""
        self.during: Callable[[], object] | None = None
        """Called once, while the next changes are read."""

    def put(self, **rows: Any) -> None:
        """Save rows."""
        self.rows.update(rows)
        if not self.silent:
            self.log += rows

    def remove(self, *keys: Any) -> None:
        for key in keys:
            self.rows.pop(key, None)
        if not self.silent:
            self.log += keys

    def load(self, dataset: Any) -> dict[Any, Any]:
        self.calls.append("all")
        return dict(self.rows)

    def change_cursor(self, dataset: Any) -> int:
        return len(self.log)

    def load_changes(self, dataset: Any, since: Any) -> Changes[Any] | None:
        self.calls.append("changes")
        if self.during is not None:
            during, self.during = self.during, None
            during()
        if self.everything:
            return None
        keys = dict.fromkeys(self.log[since:])
        upserts = {key: self.rows[key] for key in keys if key in self.rows}
        return Changes(upserts, [key for key in keys if key not in self.rows], len(self.log))

    def load_keys(self, dataset: Any, keys: Collection[Any]) -> dict[Any, Any]:
        self.calls.append("keys")
        return {key: self.rows[key] for key in keys if key in self.rows}


def declared(declare: Any, rows: dict[Any, Any], **options: Any) -> Any:
    """Declare a dataset that is loaded from a table, its attribute ``table``."""
    table = Table(rows)

    def method(name: str) -> Callable[..., Any]:
        return lambda self, *args: getattr(table, name)(self, *args)

    methods = {name: method(name) for name in ("load", "load_changes", "change_cursor", "load_keys")}
    return declare(table=table, **methods | options)
