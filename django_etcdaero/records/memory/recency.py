"""Which records of the store in memory were used longest ago."""

from __future__ import annotations

from collections import OrderedDict


class Recency:
    """Keys in the order of their use, in groups: those whose first bytes are the same.

    All but :meth:`read` are called with the lock of the store held.
    """

    def __init__(self) -> None:
        self._lengths: dict[bytes, tuple[int, bytes]] = {}
        """How many bytes tell the group, and with what its name begins, by how the keys begin that are followed."""
        self._groups: dict[bytes, OrderedDict[bytes, None]] = {}

    def follow(self, start: bytes, length: int, like: bytes) -> bool:
        """Follow keys that begin with ``start``, in groups by their first ``length`` bytes; ``False``: as before.

        The names of the groups begin with ``like`` instead of ``start``.
        """
        if start in self._lengths:
            return False
        self._lengths = {**self._lengths, start: (length, like)}  # another one: readers go through it without a lock
        return True

    def read(self, key: bytes) -> None:
        """A record was read. Needs no lock: what another thread does meanwhile may cost the key its place only."""
        for start, (length, like) in self._lengths.items():
            if key.startswith(start):
                try:  # noqa: SIM105 - for each read of a cache: `suppress` costs more than the rest
                    self._groups[key[:length] if start is like else like + key[len(start) : length]].move_to_end(key)
                except KeyError:
                    pass
                return

    def written(self, key: bytes) -> None:
        """A record was written."""
        group = self._group(key)
        if group is not None:
            keys = self._groups.setdefault(group, OrderedDict())
            keys[key] = None
            keys.move_to_end(key)

    def gone(self, key: bytes) -> None:
        """A record was removed."""
        group = self._group(key)
        keys = None if group is None else self._groups.get(group)
        if keys is not None and group is not None:
            keys.pop(key, None)
            if not keys:
                del self._groups[group]

    def clear(self) -> None:
        """All records were removed."""
        self._groups.clear()

    def size(self, group: bytes) -> int:
        """Return how many keys a group has."""
        return len(self._groups.get(group, ()))

    def surplus(self, group: bytes, most: int, share: int) -> list[bytes]:
        """Return the keys to remove from a group of more than ``most``, those used longest ago first.

        They are one of ``share`` (all, if that is 0), and as many as are above ``most``; never the one used last.
        """
        keys = self._groups.get(group, ())
        size = len(keys)
        if size <= most:
            return []
        number = max(size // share, size - most) if share else size
        return [key for key, _ in zip(keys, range(min(number, size - 1)), strict=False)]

    def _group(self, key: bytes) -> bytes | None:
        for start, (length, like) in self._lengths.items():
            if key.startswith(start):
                return key[:length] if start is like else like + key[len(start) : length]
        return None
