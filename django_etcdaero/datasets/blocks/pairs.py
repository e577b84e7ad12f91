"""Mappings that go through their rows a part at a time, without holding them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import Any


class Pairs(Mapping[Any, Any]):
    """A mapping that gives keys and rows together: looking each key up would read its part once more."""

    @abstractmethod
    def pairs(self) -> Iterator[tuple[Any, Any]]:
        """Yield key and row of all."""

    def __iter__(self) -> Iterator[Any]:
        return (key for key, _ in self.pairs())

    def items(self) -> ItemsView[Any, Any]:
        """Return keys and rows, which are read bit by bit."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """Return the rows, which are read bit by bit."""
        return _Values(self)


class _Items(ItemsView[Any, Any]):
    _mapping: Pairs

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping.pairs()


class _Values(ValuesView[Any]):
    _mapping: Pairs

    def __iter__(self) -> Iterator[Any]:
        return (row for _, row in self._mapping.pairs())
