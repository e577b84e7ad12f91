"""A version with the rows of the one that is held, such as one whose deltas were folded into its blocks.

What tells that is the digest of all rows. Then nothing has to be fetched or decoded: a key is in the block that its
hash says, so it is known which keys the new blocks have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import chain
from typing import Any

from django_etcdaero.records.store import batches
from django_etcdaero.system.giving_way import GivingWay
from django_etcdaero.system.native_types import untrack

from .assembled import Assembled, Difference, absent
from .codec import Encoder
from .held import SLICE
from .held_making import Making
from .manifest import Manifest
from .merging import dropped_blocks
from .partition import block_of


def taken_over(before: Assembled, manifest: Manifest) -> Assembled | None:
    """Return the version of ``manifest``, which has the rows of ``before``; ``None``: it has to be read.

    It has to be where rows are in other blocks than before, or in another order, or a block that is new has several
    parts: it is not known then which keys are in which.
    """
    old, further = before.manifest, len(manifest.deltas)
    if (
        (manifest.count, manifest.rows, manifest.order.chunks) != (old.count, len(before.rows), old.order.chunks)
        or further > len(old.deltas)
        or tuple(manifest.deltas) != tuple(old.deltas[len(old.deltas) - further :])
    ):
        return None
    new = set(absent(manifest.blocks, before.keys))
    numbers = {digest: number for number, digest in _listed(manifest, new)}
    dropped = dropped_blocks(before.keys, manifest, (), kept=len(manifest.blocks) - len(new))
    gone = dict(_listed(old, set(dropped)))
    if len(set(numbers.values())) < len(new) or _in_parts(manifest, numbers.values()) or _in_parts(old, gone):
        return None
    touched = _by_block(chain.from_iterable(before.by_deltas), manifest.count)
    keys, give_way = Making(before.keys, len(manifest.blocks)), GivingWay()
    keys.drop(gone.values())
    for digest, number in numbers.items():
        some = dict.fromkeys(before.keys[gone[number]] if number in gone else ())
        some.update(dict.fromkeys(touched.get(number, ())))
        named = tuple([key for key in some if key in before.rows])
        untrack(named)
        keys.put([digest], [named])
        give_way()
    by_deltas = before.by_deltas[len(before.by_deltas) - further :]
    return Assembled(manifest, before.rows, keys.done(), by_deltas, Difference({}, {}))


def _listed(manifest: Manifest, digests: Collection[bytes]) -> Iterable[tuple[int, bytes]]:
    """Yield those blocks of a version that are among ``digests``, each with its number."""
    give_way = GivingWay()
    for at, (number, digest) in enumerate(zip(manifest.indices, manifest.blocks, strict=True)):
        if digest in digests:
            yield number, digest
        if at % SLICE == 0:
            give_way()


def _in_parts(manifest: Manifest, numbers: Collection[int]) -> bool:
    """Tell whether one of the blocks with these numbers has several parts."""
    give_way, wanted, seen = GivingWay(), set(numbers), set[int]()
    for at, number in enumerate(manifest.indices):
        if number in wanted:
            if number in seen:
                return True
            seen.add(number)
        if at % SLICE == 0:
            give_way()
    return False


def _by_block(keys: Iterable[Any], count: int) -> dict[int, list[Any]]:
    """Return keys by the number of their block, of ``count``."""
    found: dict[int, list[Any]] = {}
    encoder, give_way = Encoder(), GivingWay()
    for some in batches(keys, SLICE):
        for key, encoded in zip(some, encoder.keys(some), strict=True):
            found.setdefault(block_of(encoded, count), []).append(key)
        give_way()
    return found
