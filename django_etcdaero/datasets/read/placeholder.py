"""What stands where a snapshot will be, so that reading needs no check of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django_etcdaero.datasets.snapshot import Snapshot


class Placeholder:
    """Stands where a snapshot and its rows will be: each use first gets the snapshot, or raises why there is none."""

    __slots__ = ("resolve",)

    def __init__(self, resolve: Callable[[], Snapshot[Any, Any]]) -> None:
        self.resolve = resolve

    @property
    def rows(self) -> Placeholder:
        """What stands where the rows will be."""
        return self

    def __getitem__(self, key: Any) -> Any:
        return self.resolve().rows[key]

    def __contains__(self, key: object) -> bool:
        return key in self.resolve().rows

    def __len__(self) -> int:
        return len(self.resolve().rows)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.resolve().rows)

    def __getattr__(self, name: str) -> Any:
        """Return a method of a dictionary, such as ``get``."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.resolve().rows, name)
