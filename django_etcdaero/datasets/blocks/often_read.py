"""Rows of a large dataset that are read again and again, in one dictionary in front of the others.

To find a row in a shard takes two look-ups, a hash and a division: several times as long as in a ``dict``, for rows
that the processor has in its caches. Of most datasets the same some thousand rows are read most of the time. So the
rows that are read are put into a ``dict`` as well, which calls :meth:`OftenRead.__missing__` for a row that it does not
have. Not each one is: who reads a million rows once each would only pay for it.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from .held import Sharded
from .held_front import InFront

MOST: Final = 8192
"""Rows in it. Then it is emptied, so that it has those that are read now."""
EVERY: Final = 8
"""Rows that are looked up elsewhere for one that is put in."""

_KINDS: Final = frozenset((str, int, bytes, tuple, UUID))
"""The types of keys that may stay in it: others can be subclasses of a key's type, and hold on to anything."""


class OftenRead(dict[Any, Any]):
    """To read ``rows`` by ``[key]``, by any thread; for nothing else."""

    __slots__ = ("_left", "_number", "_rows", "_shards")

    def __init__(self, rows: Sharded[Any, Any]) -> None:
        super().__init__()
        self._rows = rows
        self._shards = rows._shards
        self._number = rows._number
        self._left = 0
        """How many are looked up until the next one is put in."""

    def __missing__(self, key: Any) -> Any:
        row = self._shards[hash(key) % self._number][key]
        if self._left > 0:
            self._left -= 1
        elif type(key) in _KINDS:
            self._keep(key, row)
        return row

    def _keep(self, key: Any, row: Any) -> None:
        self._left = EVERY - 1
        if len(self) >= MOST:
            self.clear()
        self[key] = row


class _BeforeOthers(OftenRead):
    """The same, of rows that have changes in front of them (:mod:`.held_front`), until these are settled."""

    __slots__ = ()

    def __missing__(self, key: Any) -> Any:
        rows = self._rows
        row = rows[key]
        if type(rows) is Sharded:
            self._shards = rows._shards
            self.__class__ = OftenRead  # type: ignore[assignment]
        if self._left > 0:
            self._left -= 1
        elif type(key) in _KINDS:
            self._keep(key, row)
        return row


def quickly_read(rows: Any) -> Any:
    """Return what ``rows[key]`` is to be asked of: ``rows``, or what is in front of them."""
    if isinstance(rows, InFront):
        return _BeforeOthers(rows)
    return OftenRead(rows) if isinstance(rows, Sharded) else rows
