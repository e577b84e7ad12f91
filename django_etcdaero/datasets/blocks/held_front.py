"""A few changes in front of many rows, until there is time to put them among these.

To put a row among the others costs the copy of a shard, for which all that is in it has to be touched: a third of what
a process does from the sight of a new version to its use. All processes of a host do it at that moment. So a small
change is at first looked up before the shards, which takes a read some 30 ns, and is put into them a moment later. What
is read is the same before and after, in the same order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, TypeVar

from .held import SMALL, Sharded
from .held_making import changed, keeps_shards

K = TypeVar("K")
V = TypeVar("V")

MOST_SHARE: Final = 1 / 16
"""Changes in front, as a part of the rows; there are never more than ``SMALL``."""

_GONE: Final = object()
"""In the place of a row that was deleted."""
_NO_FRONT: Final[Mapping[Any, Any]] = {}


class InFront(Sharded[K, V]):
    """Rows of another version, with changes in front of them until :meth:`settle`; made by :func:`changed_in_front`.

    Other threads read while it is settled: ``_shards`` becomes what all rows are in before ``_front`` becomes empty, so
    whoever reads them in the other order finds a change in one or the other.
    """

    __slots__ = ()

    def __init__(self, behind: Sharded[K, V], upserts: Mapping[K, V], deletions: Collection[K]) -> None:
        gone = [key for key in deletions if key in behind]
        added = sum(key not in behind for key in upserts)
        super().__init__(behind._shards, len(behind) + added - len(gone), untracked=behind._untracked)
        self._front = {**upserts, **dict.fromkeys(gone, _GONE)}
        self._behind = behind

    def __getitem__(self, key: K) -> V:
        front = self._front
        if key in front:
            row = front[key]
            if row is _GONE:
                raise KeyError(key)
            found: V = row
            return found
        return self._shards[hash(key) % self._number][key]

    def get(self, key: Any, default: Any = None) -> Any:
        front = self._front
        if key in front:
            row = front[key]
            return default if row is _GONE else row
        return self._shards[hash(key) % self._number].get(key, default)

    def __contains__(self, key: object) -> bool:
        front = self._front
        if key in front:
            return front[key] is not _GONE
        return key in self._shards[hash(key) % self._number]

    def __iter__(self) -> Iterator[K]:
        return (key for key, _ in self._each_item())

    def __reversed__(self) -> Iterator[K]:
        front, behind = self._front, self._behind
        if behind is None:
            yield from Sharded.__reversed__(self)
            return
        added = self._added(front, behind)
        for at in range(self._number - 1, -1, -1):
            yield from reversed(added.get(at, ()))
            yield from (key for key in reversed(behind._shards[at]) if front.get(key) is not _GONE)

    def _each_value(self) -> Iterator[V]:
        return (row for _, row in self._each_item())

    def _each_item(self) -> Iterator[tuple[K, V]]:
        front, behind = self._front, self._behind
        if behind is None:  # settled just now
            yield from Sharded._each_item(self)
            return
        added = self._added(front, behind)
        for at, shard in enumerate(behind._shards):
            for key, old in shard.items():
                row = front.get(key, old)
                if row is not _GONE:
                    yield key, row
            for key in added.get(at, ()):
                yield key, front[key]

    def _added(self, front: Mapping[K, Any], behind: Sharded[K, V]) -> dict[int, list[K]]:
        """Return the keys that are in front alone, by the number of the shard to whose end they will be put."""
        found: dict[int, list[K]] = {}
        for key in front:
            if key not in behind:
                found.setdefault(hash(key) % self._number, []).append(key)
        return found

    def settle(self) -> None:
        """Put the changes into copies of their shards."""
        front, behind = self._front, self._behind
        if behind is None:
            return
        gone = [key for key, row in front.items() if row is _GONE]
        upserts = {key: row for key, row in front.items() if row is not _GONE}
        made = changed(behind, upserts, gone, size=self._count)
        assert isinstance(made, Sharded)
        assert (made._number, len(made)) == (behind._number, self._count)
        self._shards = made._shards
        self._untracked = made._untracked
        self.__class__ = Sharded  # type: ignore[assignment]
        self._behind = None
        self._front = _NO_FRONT


def changed_in_front(rows: Mapping[K, V], upserts: Mapping[K, V], deletions: Collection[K]) -> Mapping[K, V]:
    """Return what :func:`.held_making.changed` returns, at once where that is a small change of many rows."""
    if isinstance(rows, Sharded):
        rows.settle()
    changes = len(upserts) + len(deletions)
    if type(rows) is Sharded and changes <= min(SMALL, MOST_SHARE * len(rows)):
        made = InFront(rows, upserts, deletions)
        if keeps_shards(rows, len(made)):
            return made
    return changed(rows, upserts, deletions)
