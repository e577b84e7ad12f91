"""Forgetting what is stored of a dataset, or of one of its schemas, that no code declares any more.

Under the dataset's lock, so that nobody publishes meanwhile: the records of all its versions get a time to live, as
those of any version that goes, then the announcement copy is deleted, and last of all the keys, in one transaction. Who
is stopped before that has forgotten nothing, and does it all again. The lock is under those keys, and goes with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.host import host
from django_etcdaero.datasets.layout import ANNOUNCEMENTS, DATASETS, LOADS, SETTINGS, Layout
from django_etcdaero.datasets.registry import datasets
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.presence import processes
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.exceptions import InvalidRequest, KeyNotFound, LockLost
from django_etcdaero.keyvalue.ops import delete

from .commit import give_back
from .storing import load_manifest

_KEY: Final = re.compile(
    rb"(?:%s)([^/\x80-\xff]+)/s(0|[1-9][0-9]*)(?:/.*)?"
    % b"|".join(room.encode() for room in (ANNOUNCEMENTS, DATASETS, LOADS)),
    re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDataset:
    """What is stored of one dataset under one schema."""

    name: str
    schema: int
    declared: bool
    """Whether code of this process declares it, with this schema."""
    announcement: Announcement | None
    """What is current; ``None``: nothing is, or it makes no sense."""


def stored_datasets(*, using: str = "default") -> list[StoredDataset]:
    """Return what is stored under an alias, ordered by name and schema. Raises what the store raises."""
    kv, found = host().stores(using).kv, dict[tuple[str, int], Announcement | None]()
    for room in (DATASETS, LOADS):
        for item in kv.iterate(room, prefix=True, keys_only=True):
            match = _KEY.fullmatch(item.key)
            if match is not None:
                found.setdefault((match[1].decode(), int(match[2])))
    for item in kv.iterate(ANNOUNCEMENTS, prefix=True):
        match = _KEY.fullmatch(item.key)
        if match is not None:
            found[match[1].decode(), int(match[2])] = Announcement.believe(item)
    return [
        StoredDataset(name=name, schema=schema, declared=_is_declared(name, schema), announcement=announcement)
        for (name, schema), announcement in sorted(found.items())
    ]


def forget_dataset(
    name: str, *, schema: int | None = None, using: str = "default", force: bool = False
) -> list[StoredDataset]:
    """Delete what is stored of a dataset under an alias, of one schema or of all; return what that was.

    Its records expire after ``GARBAGE_TTL``. Raises ``KeyNotFound`` if there is nothing, ``InvalidRequest`` if code of
    this process declares it or a process is registered that reads it (not with ``force``), ``LockTimeout`` if it is
    being refreshed at this moment, and what the stores raise.
    """
    stores = host().stores(using)
    stored = [each for each in stored_datasets(using=using) if each.name == name]
    chosen = [each for each in stored if schema in (None, each.schema)]
    if not chosen:
        what = name if schema is None else f"{name} with schema {schema}"
        others = f"; schemas: {', '.join(str(each.schema) for each in stored)}" if stored else ""
        raise KeyNotFound(f"alias {using!r}: nothing is stored of a dataset {what}{others}")
    if not force:
        refuse_what_is_used(chosen, using=using)
    for each in chosen:
        _forget(stores, each)
    if chosen == stored:
        stores.kv.delete_range(f"{SETTINGS}{name}/", prefix=True)
    return chosen


def refuse_what_is_used(chosen: Iterable[StoredDataset], *, using: str = "default") -> None:
    """Raise ``InvalidRequest`` for what code of this process declares, or a process is registered to read."""
    running = processes(host().stores(using).kv)
    for each in chosen:
        if each.declared:
            raise InvalidRequest(
                f"dataset {each.name!r} with schema {each.schema} is declared in {datasets[each.name].origin}: name"
                " another schema, or force it"
            )
        readers = [f"{one.host}/{one.pid}" for one in running if one.schemas.get(each.name) == each.schema]
        if readers:
            raise InvalidRequest(
                f"dataset {each.name!r} with schema {each.schema} is read by {len(readers)} processes, such as"
                f" {readers[0]}: stop them, or force it"
            )


def _forget(stores: Stores, stored: StoredDataset) -> None:
    layout = Layout(prefix=stores.prefix, name=stored.name, schema=stored.schema)
    lock = stores.kv.lock(layout.lock, ttl=stores.lock_ttl)
    lock.acquire(timeout=0)
    try:
        blocks = BlockStore(stores.records, layout)
        for entry in _versions(stores, layout):
            manifest = load_manifest(blocks, entry)
            if manifest is not None:  # else nobody knows what belonged to it
                blocks.renew(manifest.digests(), stores.garbage_ttl)
        stores.records.delete(layout.announcement_copy)
        steps = delete(layout.announcement), delete(layout.checked), delete(layout.base, prefix=True)
        if not stores.kv.txn().when(lock.compare()).then(*steps).commit().succeeded:
            raise LockLost(f"the lock of dataset {stored.name!r} was lost meanwhile: nothing was deleted; repeat it")
    finally:
        give_back(lock)


def _versions(stores: Stores, layout: Layout) -> list[Announcement]:
    """Return all versions that keys name, each content once."""
    keys = [*stores.kv.range(layout.history(), prefix=True).kvs, *stores.kv.range(layout.retired(), prefix=True).kvs]
    keys += [*stores.kv.range(layout.announcement).kvs, *stores.kv.range(layout.former_announcement).kvs]
    believed = filter(None, map(Announcement.believe, keys))
    return list({entry.root: entry for entry in believed}.values())


def _is_declared(name: str, schema: int) -> bool:
    return name in datasets and datasets[name].schema == schema
