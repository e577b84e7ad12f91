"""Whether a load can repair the version that readers are held on by a pin.

Damaged records are written again when a load gives the same rows. What is current is what the source gave last, so its
repair is worth a load. A pinned version is an older one: it can be repaired only as far as the source still gives its
rows, and while it cannot, every process that starts asks for a repair.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from django_etcdaero.datasets.blocks.assembly import FETCH
from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.compression import damaged
from django_etcdaero.datasets.blocks.digests import DamagedRecord, MissingRecords
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.schedule import is_due
from django_etcdaero.datasets.state.sightings import Ages
from django_etcdaero.datasets.state.stored_state import StoredState
from django_etcdaero.exceptions import CorruptBlock
from django_etcdaero.records.store import batches

from .storing import load_manifest


def refuse_repair_in_vain(
    dataset: Declared[Any, Any],
    state: StoredState,
    ages: Ages,
    blocks: BlockStore,
    newest: Callable[[], Announcement | None],
) -> None:
    """Raise ``CorruptBlock`` when a load is wanted for a repair only, and the source has nothing to repair with.

    ``newest()`` is what the last load gave. It counts only if that load began after the pin was set; since one before
    that, the source may have gone back to what it was. Raises what the record store raises.
    """
    pin, request = state.pin, state.pending
    if state.current is None or pin is None or state.checked_revision < state.pin_revision:
        return
    if request is None or not request.repair or request.by_person:
        return
    if is_due(dataclasses.replace(state, request=None), dataset, ages):
        return
    given, lost = load_manifest(blocks, newest()), lost_parts(blocks, state.current)
    if given is not None and lost and lost.isdisjoint(given.digests()):
        raise CorruptBlock(f"version {pin.version} is pinned, damaged and cannot be repaired from the source: unpin")


def lost_parts(blocks: BlockStore, announcement: Announcement) -> set[bytes]:
    """Return the names of the records of a version that are missing or damaged, as far as its manifest can be read."""
    try:
        manifest = Manifest.load(blocks.fetch, bytes.fromhex(announcement.root))
    except DamagedRecord as error:
        return {error.digest}
    except MissingRecords as error:
        return set(error.missing)
    lost: set[bytes] = set()
    content = manifest.kinds()
    for batch in batches(content, FETCH):
        lost.update(damaged({digest: content[digest] for digest in batch}, blocks.fetch(batch)))
    return lost
