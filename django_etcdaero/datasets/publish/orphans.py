"""Records that stay for ever and that nothing names any more: left behind where the notes of a publication were lost.

A publication leaves a note of what it is about to make permanent, and what leaves the history expires by itself. So
there are such records only where keys went another way: a coordination store was emptied or restored, somebody deleted
keys, a version could not be read when it was to go. They are found by looking at every record of the alias.

Nothing is deleted: they are given a time to live, as those of any version that goes, unless their generation shows that
somebody has taken them into use since they were looked at. That is done under the lock of the dataset, so that nobody
publishes meanwhile. What the announcement copy names counts as named: that is what readers hold after a coordination
store was lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.digests import DIGEST_BYTES
from django_etcdaero.datasets.layout import Layout, dataset_of_record, records_of_all
from django_etcdaero.datasets.registry import datasets
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.exceptions import LockTimeout, ResponseError

from .commit import give_back
from .storing import load_manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphans:
    """What was found of one dataset, under one schema."""

    name: str
    schema: int
    declared: bool
    """Whether code of this process declares it, with this schema."""
    records: int
    """Permanent records that nothing names."""
    expiring: int = 0
    """How many of them were given a time to live."""
    left_alone: str = ""
    """Why nothing of it was looked at or given a time to live; empty: it was."""


def orphans(stores: Stores, *, expire: bool = False) -> list[Orphans]:
    """Look for orphans of all datasets under an alias, whoever declares them; ordered by name and schema.

    ``expire``: give them a time to live of ``GARBAGE_TTL``. Reads the keys of all records. Raises what the stores
    raise.
    """
    return [
        _of_one(stores, Layout(prefix=stores.prefix, name=name, schema=schema), found, expire=expire)
        for (name, schema), found in sorted(_permanent(stores).items())
    ]


def _permanent(stores: Stores) -> dict[tuple[str, int], dict[bytes, int]]:
    """Return by dataset the generation of each permanent record, by digest."""
    found: dict[tuple[str, int], dict[bytes, int]] = {}
    for key, meta in stores.records.scan(records_of_all(stores.prefix)):
        dataset = dataset_of_record(key, stores.prefix)
        if dataset is None or meta.ttl is not None:
            continue
        name, schema, digest = dataset
        if len(digest) == DIGEST_BYTES:
            found.setdefault((name, schema), {})[digest] = meta.generation
    return found


def _of_one(stores: Stores, layout: Layout, found: dict[bytes, int], *, expire: bool) -> Orphans:
    def told(records: int = 0, expiring: int = 0, left_alone: str = "") -> Orphans:
        declared = layout.name in datasets and datasets[layout.name].schema == layout.schema
        return Orphans(
            name=layout.name,
            schema=layout.schema,
            declared=declared,
            records=records,
            expiring=expiring,
            left_alone=left_alone,
        )

    blocks = BlockStore(stores.records, layout)
    if not expire:
        try:
            return told(len(found.keys() - _named(stores, layout, blocks)))
        except ResponseError as error:
            return told(left_alone=str(error))
    lock = stores.kv.lock(layout.lock, ttl=stores.lock_ttl)
    try:
        lock.acquire(timeout=0)
    except LockTimeout:
        return told(left_alone="it is being refreshed at this moment")
    try:
        unnamed = found.keys() - _named(stores, layout, blocks)
        lock.check()
        expiring = blocks.let_expire({digest: found[digest] for digest in unnamed}, stores.garbage_ttl)
        return told(len(unnamed), len(expiring))
    except ResponseError as error:
        return told(left_alone=str(error))
    finally:
        give_back(lock)


def _named(stores: Stores, layout: Layout, blocks: BlockStore) -> set[bytes]:
    """Return all that versions need which are kept, current, or noted. Raises ``ResponseError`` if that is not known.

    A version that left and cannot be read needs nothing: nobody can load it.
    """
    named: set[bytes] = set()
    for entry in _kept(stores, layout):
        manifest = load_manifest(blocks, entry)
        if manifest is None:
            raise ResponseError(f"version {entry.version} is kept and cannot be read: what it needs is not known")
        named.update(manifest.digests())
    copy = blocks.read_copy()
    noted = [Announcement.believe(item) for item in stores.kv.range(layout.retired(), prefix=True).kvs]
    for note in (*noted, None if copy is None else copy.announcement):
        manifest = load_manifest(blocks, note)
        if manifest is not None:
            named.update(manifest.digests())
    return named


def _kept(stores: Stores, layout: Layout) -> Iterator[Announcement]:
    """Yield what is in the history and what is announced, each content once."""
    items = [*stores.kv.range(layout.history(), prefix=True).kvs]
    for key in (layout.announcement, layout.former_announcement):
        items += stores.kv.range(key).kvs
    seen = set()
    for item in items:
        entry = Announcement.believe(item)
        if entry is None:
            raise ResponseError(f"what stands under {item.key!r} makes no sense: what it needs is not known")
        if entry.root not in seen:
            seen.add(entry.root)
            yield entry
