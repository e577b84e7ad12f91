"""Every call of a store that asks the server, for tests of what they have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_etcdaero.records.store import RecordStore

Call = Callable[..., Any]

READS: dict[str, Call] = {
    "get": lambda store, **options: store.get(b"k", **options),
    "exists": lambda store, **options: store.exists(b"k", **options),
    "get one of many": lambda store, **options: store.get_many([b"k"], **options),
    "get many": lambda store, **options: store.get_many([b"k", b"l", b"m"], **options),
    "exists many": lambda store, **options: store.exists_many([b"k", b"l", b"m"], **options),
    "scan": lambda store, **options: list(store.scan(**options)),
}
WRITES: dict[str, Call] = {
    "put": lambda store, **options: store.put(b"k", b"w", **options),
    "create": lambda store, **options: store.put(b"new", b"w", create_only=True, **options),
    "put over a generation": lambda store, **options: store.put(b"k", b"w", generation=1, **options),
    "delete": lambda store, **options: store.delete(b"k", **options),
    "touch": lambda store, **options: store.touch(b"k", 60, **options),
    "increment": lambda store, **options: store.increment(b"n", 1, **options),
    "put one of many": lambda store, **options: store.put_many({b"k": b"w"}, **options),
    "put many": lambda store, **options: store.put_many({b"k": b"w", b"l": b"w", b"m": 1}, **options),
    "delete many": lambda store, **options: store.delete_many([b"k", b"l", b"m"], **options),
    "touch many": lambda store, **options: store.touch_many({b"k": 1, b"l": None}, 60, **options),
}
TRUNCATE: dict[str, Call] = {"truncate": lambda store, **options: store.truncate(**options)}
ALL = READS | WRITES | TRUNCATE


def fill(store: RecordStore) -> None:
    """Write the records that the calls are about."""
    store.put_many({b"k": b"v", b"l": b"v", b"m": b"v", b"n": 1})
