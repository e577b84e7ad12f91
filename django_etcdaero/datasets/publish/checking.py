"""Whether what was announced is whole: looked at by the process that has published it, some records at a time.

A change looks at its own records and at the blocks of its keys; at all of a version only a full load does, which may
be a day away. A record that is lost or damaged meanwhile is no harm to readers that hold its rows, only to those that
start later. So it is looked for in between, where a service has nothing else to do, and a repair is asked for.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from typing import Any, Final, NamedTuple

from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.compression import damaged
from django_etcdaero.datasets.blocks.digests import Kind
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.schedule import request_load
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.system.clocks import monotonic

from .base import held

logger = logging.getLogger("django_etcdaero.datasets")

STEP: Final = 256
"""Blocks that are looked at together: about 0.4 MB to be fetched, and some milliseconds to verify."""
EVERY: Final = 60.0
"""Seconds between two steps. All blocks of a million rows are looked at in two hours, where a service looks at the
dataset each minute."""


class _Place(NamedTuple):
    block: int
    """Number of the block that is next."""
    at: float
    """When the last step was, by the monotonic clock."""


_places: dict[bytes, _Place] = {}
"""How far this process has looked, by the start of the dataset's records."""


def check_some(dataset: Declared[Any, Any], stores: Stores) -> int:
    """Look at the next records of a version that this process has published and that is announced, if it is time.

    Each must be there for ever, and be what its name says; otherwise a repair is asked for. Returns how many records
    were looked at. Raises what the stores raise.
    """
    layout = dataset.layout(stores.prefix)
    base, last, now = held(layout), _places.get(layout.records), monotonic()
    if base is None or (last is not None and now - last.at < EVERY):
        return 0
    manifest, root = base.manifest, base.manifest.root_digest.hex()
    first = last.block if last is not None and last.block < manifest.count else 0
    _places[layout.records] = _Place(first + STEP, now)
    begin, end = (bisect_left(manifest.indices, number) for number in (first, first + STEP))
    kinds = dict.fromkeys(manifest.blocks[begin:end], Kind.BLOCK)
    if first == 0:
        kinds |= dict.fromkeys(manifest.deltas, Kind.DELTA) | dict.fromkeys(manifest.pages, Kind.PAGE)
        kinds[manifest.root_digest] = Kind.ROOT
    blocks = BlockStore(stores.records, layout)
    mortal = {digest for digest, meta in blocks.exists(kinds).items() if meta.ttl is not None}
    lost = {*damaged(kinds, blocks.fetch(kinds)), *mortal}
    # Records of a version that has been replaced meanwhile may go.
    announced = Announcement.believe(stores.kv.get(layout.announcement))
    if lost and announced is not None and announced.root == root:
        logger.warning(
            "dataset %s: %d of %d records of version %d that were looked at are missing, damaged or about to expire, "
            "among them %s: a repair is asked for",
            dataset.name,
            len(lost),
            len(kinds),
            announced.version,
            min(lost).hex(),
        )
        request_load(dataset, stores, repair=True)
    return len(kinds)
