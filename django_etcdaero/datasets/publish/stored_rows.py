"""The rows of a stored version as a mapping that holds few of them at a time, for validators."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

from django_etcdaero.datasets.blocks.applied import Applied
from django_etcdaero.datasets.blocks.codec import Encoder
from django_etcdaero.datasets.blocks.digests import Fetch
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.blocks.pairs import Pairs
from django_etcdaero.datasets.blocks.partition import block_of, decode_plain
from django_etcdaero.exceptions import EncodeError
from django_etcdaero.records.store import batches

FETCH: Final = 64
"""Blocks in one fetch, where rows are read one after the other."""
_HELD: Final = 512
"""Blocks that are held, decoded."""


class StoredRows(Pairs):
    """The rows of a version, read-only, in the order of its blocks.

    A look-up fetches the block where the row is; where the one before was near in that order, those that follow, too. A
    key is found by its encoding: 1.0 does not find 1. ``telling`` is entered around each fetch. Raises
    ``CorruptBlock``, and what the store raises.
    """

    def __init__(self, manifest: Manifest, fetch: Fetch, telling: Callable[[], AbstractContextManager[None]]) -> None:
        self._rows = manifest.rows
        self._telling = telling
        self._encoder = Encoder()
        self._held: OrderedDict[bytes, dict[Any, Any]] = OrderedDict()
        self._last = 0
        """Which of the blocks was fetched last."""
        with telling():
            self._applied = Applied(manifest, fetch)

    def pairs(self) -> Iterator[tuple[Any, Any]]:
        """Yield key and row of all, fetching some blocks at a time."""
        for names in batches(self._applied.blocks, FETCH):
            for block in self._read(names):
                yield from block.items()

    def _read(self, names: list[bytes]) -> list[dict[Any, Any]]:
        with self._telling():
            plain = self._applied.plain(names)
            blocks = [decode_plain(plain[name], frozen=True) for name in names]
        return [dict(zip(block.keys, block.rows, strict=True)) for block in blocks]

    def __getitem__(self, key: Any) -> Any:
        try:
            encoded = self._encoder.keys((key,))[0]
        except EncodeError:
            raise KeyError(key) from None
        for name in self._applied.holding(encoded):
            if name not in self._held:
                self._fetch(encoded)
            block = self._held[name]
            if key in block:
                return block[key]
        raise KeyError(key)

    def _fetch(self, key: bytes) -> None:
        applied = self._applied
        first = bisect_left(applied.indices, block_of(key, applied.count))
        number = len(applied.holding(key))
        if self._last <= first <= self._last + FETCH:
            number = max(number, FETCH)
        names = list(applied.blocks[first : first + number])
        self._held.update(zip(names, self._read(names), strict=True))
        self._last = first + number
        while len(self._held) > max(_HELD, number):
            self._held.popitem(last=False)

    def __len__(self) -> int:
        return self._rows
