"""Kept versions: listing them, going back to one, and letting go again.

Going back needs no lock. It is one transaction that holds only if the announcement, ``pin`` and the entry of the
history are still what was looked at, so that it cannot cross a publication: a publisher that comes second finds another
announcement and is refused, and a version that a publisher has retired meanwhile cannot be gone back to.
"""

from __future__ import annotations

import dataclasses
import secrets
import time
from dataclasses import dataclass
from typing import Any

from django_etcdaero.datasets.blocks.assembly import FETCH
from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.compression import verified
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.reading import read_state
from django_etcdaero.datasets.state.schedule import request_load
from django_etcdaero.datasets.state.stored_state import Pin
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.exceptions import CorruptBlock, Fenced, KeyNotFound
from django_etcdaero.keyvalue.txn import mod_revision, put
from django_etcdaero.records.store import batches

from .commit import as_read, drop_former
from .expiry import kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One kept version."""

    announcement: Announcement
    current: bool
    pinned: bool


def versions(dataset: Declared[Any, Any], stores: Stores) -> list[Version]:
    """Return the kept versions, the newest first."""
    layout = dataset.layout(stores.prefix)
    state = read_state(stores.kv, layout)
    entries = [entry for entry, _ in kept(stores.kv.range(layout.history(), prefix=True).kvs)]
    return [
        Version(
            announcement=entry,
            current=state.current is not None and state.current.version == entry.version,
            pinned=state.pin is not None and state.pin.version == entry.version,
        )
        for entry in reversed(entries)
    ]


def rollback(dataset: Declared[Any, Any], stores: Stores, version: int) -> None:
    """Announce a kept version again and pin it: see :meth:`django_etcdaero.datasets.dataset.Dataset.rollback`."""
    layout = dataset.layout(stores.prefix)
    state = read_state(stores.kv, layout)
    item = stores.kv.get(layout.history(version))
    entry = Announcement.believe(item)
    if item is None or entry is None or state.current is None:
        kept = ", ".join(str(each.announcement.version) for each in versions(dataset, stores)) or "none"
        raise KeyNotFound(f"dataset {dataset.name!r} has no kept version {version}; kept: {kept}")
    blocks = BlockStore(stores.records, layout)
    manifest = Manifest.load(blocks.fetch, bytes.fromhex(entry.root))
    names = set(manifest.digests())
    found = blocks.exists(names)
    mortal = {digest for digest, meta in found.items() if meta.ttl is not None}
    gone = (names - found.keys()) | (mortal - blocks.keep_forever(mortal))
    if gone:
        raise CorruptBlock(f"dataset {dataset.name!r}: {len(gone)} parts of version {version} are gone from the store")
    content = manifest.content()
    for batch in batches(content, FETCH):  # nobody could repair a damaged one: the source has other rows now
        for digest, stored in blocks.fetch(batch).items():
            verified(content[digest], digest, stored)
    epoch = state.next_epoch(blocks.read_copy())
    announced = dataclasses.replace(entry, id=secrets.token_hex(8), epoch=epoch)
    pin = Pin(version=version, at=time.time())
    done = (
        stores.kv.txn()
        .when(
            *as_read(layout, state),
            mod_revision(layout.pin) == state.pin_revision,
            mod_revision(layout.history(version)) == item.mod_revision,
        )
        .then(put(layout.announcement, announced.encode()), put(layout.pin, pin.encode()), *drop_former(layout, state))
        .commit()
    )
    if not done.succeeded:
        raise Fenced(f"dataset {dataset.name!r}: something was published meanwhile; look again and repeat")
    blocks.write_copy(announced, done.revision)


def unpin(dataset: Declared[Any, Any], stores: Stores) -> bool:
    """Remove the pin and ask for a load; return whether there was a pin."""
    layout = dataset.layout(stores.prefix)
    if not stores.kv.delete(layout.pin).deleted:
        return False
    request_load(dataset, stores, repair=False)
    return True
