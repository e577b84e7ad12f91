"""The rows of a version as they are encoded: its blocks, with its deltas applied where it has some.

Whoever walks the blocks of a version, to compare, to look at rows, or to store them anew, walks these. Without deltas
they are the blocks as they are stored. With deltas each block that one of them concerns is made when it is looked at,
all its parts together; what it is called depends on nothing but what it is made of, so that two versions have it in
common where neither block nor deltas differ. Such a name is that of no record.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import chain
from typing import NamedTuple

from .codec import array_header
from .compression import verified
from .delta_reading import net_changes
from .digests import DIGEST_BYTES, Fetch, Kind, fetched
from .encoded_rows import encoded_pairs, rows_of_keys_in
from .manifest import Manifest
from .partition import block_of


class Applied:
    """The blocks of a version. Raises ``CorruptBlock`` and what ``fetch`` raises when deltas are missing or damaged.

    ``net``: what the deltas come to (:func:`.delta_reading.net_changes`), for who knows it.
    """

    def __init__(self, manifest: Manifest, fetch: Fetch, *, net: Mapping[bytes, bytes | None] | None = None) -> None:
        self.count = manifest.count
        """Number of blocks, empty ones included."""
        self.indices: Sequence[int] = manifest.indices
        """Which block each of ``blocks`` is, or is a part of."""
        self.blocks: Sequence[bytes] = manifest.blocks
        """Names of the blocks that are not empty, in their order."""
        self._fetch = fetch
        self._made: dict[bytes, _Made] = {}
        if net is None:
            net = net_changes(manifest.deltas, fetch)
        if net:
            self._apply(manifest, net)

    def _apply(self, manifest: Manifest, net: Mapping[bytes, bytes | None]) -> None:
        changes: dict[int, dict[bytes, bytes | None]] = {}
        for key, row in net.items():
            changes.setdefault(block_of(key, manifest.count), {})[key] = row
        indices: list[int] = []
        blocks: list[bytes] = []
        begin = 0
        for index in sorted(changes):
            first = bisect_left(manifest.indices, index, begin)
            last = bisect_right(manifest.indices, index, first)
            made = _Made(manifest.blocks[first:last], changes[index])
            name = made.name()
            self._made[name] = made
            indices += (*manifest.indices[begin:first], index)
            blocks += (*manifest.blocks[begin:first], name)
            begin = last
        self.indices = (*indices, *manifest.indices[begin:])
        self.blocks = (*blocks, *manifest.blocks[begin:])

    @property
    def changed(self) -> dict[int, bytes]:
        """The blocks that deltas concern: number and name."""
        return {index: name for index, name in zip(self.indices, self.blocks, strict=True) if name in self._made}

    def holding(self, key: bytes) -> Sequence[bytes]:
        """Return the names of the blocks in which a row with an encoded key would be: one, or the parts of one."""
        index = block_of(key, self.count)
        begin = bisect_left(self.indices, index)
        return list(self.blocks[begin : bisect_right(self.indices, index, begin)])

    def plain(self, names: Collection[bytes]) -> dict[bytes, bytes]:
        """Return blocks in their plain form (:mod:`.partition`), by name.

        Raises ``CorruptBlock`` for what is missing or damaged, and what ``fetch`` raises.
        """
        stored = dict.fromkeys(
            chain.from_iterable(self._made[name].parts if name in self._made else (name,) for name in names)
        )
        plain = read_blocks(stored, self._fetch)
        return {name: self._made[name].plain(plain) if name in self._made else plain[name] for name in names}


class _Made(NamedTuple):
    """A block that deltas concern."""

    parts: Sequence[bytes]
    """Digests of its records."""
    net: Mapping[bytes, bytes | None]

    def name(self) -> bytes:
        named = blake2b(b"".join(self.parts), digest_size=DIGEST_BYTES, person=b"etcdaero applied")
        for key, row in sorted(self.net.items()):
            named.update(b"-" + key if row is None else b"+" + key + row)
        return named.digest()

    def plain(self, blocks: Mapping[bytes, bytes]) -> bytes:
        rows = rows_made_of([blocks[part] for part in self.parts], self.net)
        pairs = sorted(key + row for key, row in rows.items())
        return array_header(2 * len(pairs)) + b"".join(pairs)


def rows_made_of(blocks: Iterable[bytes], net: Mapping[bytes, bytes | None]) -> dict[bytes, bytes]:
    """Return the encoded rows of a block by encoded key; ``blocks`` are its parts in their plain form."""
    rows: dict[bytes, bytes | None] = {}
    for block in blocks:
        rows.update(encoded_pairs(block))
    rows.update(net)
    return {key: row for key, row in rows.items() if row is not None}


def read_blocks(digests: Iterable[bytes], fetch: Fetch) -> dict[bytes, bytes]:
    """Fetch and verify blocks; return their plain form. Raises ``CorruptBlock``, and what ``fetch`` raises."""
    named = list(digests)
    found = fetched(named, fetch, at_once=max(1, len(named)), what="blocks")
    return {digest: verified(Kind.BLOCK, digest, stored) for digest, stored in found}


def rows_of_keys(manifest: Manifest, keys: Iterable[bytes], fetch: Fetch, *, at_once: int = 256) -> dict[bytes, bytes]:
    """Return the encoded rows that the blocks of a version have under encoded keys, its deltas left aside.

    Reads the blocks of those keys only, ``at_once`` of them in one fetch. Raises ``CorruptBlock``, and what ``fetch``
    raises.
    """
    wanted: dict[bytes, list[bytes]] = {}
    for key in keys:
        index = block_of(key, manifest.count)
        begin = bisect_left(manifest.indices, index)
        for digest in manifest.blocks[begin : bisect_right(manifest.indices, index, begin)]:
            wanted.setdefault(digest, []).append(key)
    found = fetched(wanted, fetch, at_once=at_once, what="blocks")
    return rows_of_keys_in((verified(Kind.BLOCK, digest, stored), wanted[digest]) for digest, stored in found)
