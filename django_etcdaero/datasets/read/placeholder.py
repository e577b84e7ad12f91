"""What stands where a snapshot will be, so that reading needs no check of its own."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from typing import Any

from django_etcdaero.datasets.snapshot import Snapshot


class PlaceholderRows:
    """Stands where the rows will be: each use of it first gets the snapshot, or raises why there is none."""

    __slots__ = ("_resolve",)

    def __init__(self, resolve: Callable[[], Snapshot[Any, Any]]) -> None:
        self._resolve = resolve

    def __getitem__(self, key: Any) -> Any:
        return self._resolve().rows[key]

    def get(self, key: Any, default: Any = None) -> Any:
        return self._resolve().rows.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._resolve().rows

    def __len__(self) -> int:
        return len(self._resolve().rows)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._resolve().rows)

    def keys(self) -> KeysView[Any]:
        return self._resolve().rows.keys()

    def values(self) -> ValuesView[Any]:
        return self._resolve().rows.values()

    def items(self) -> ItemsView[Any, Any]:
        return self._resolve().rows.items()


class Placeholder:
    """Stands where the snapshot will be."""

    __slots__ = ("resolve", "rows")

    def __init__(self, resolve: Callable[[], Snapshot[Any, Any]]) -> None:
        self.resolve = resolve
        self.rows = PlaceholderRows(resolve)
