"""What an alias keeps of datasets, processes and locks: read once, judged by several checks."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.digests import DamagedRecord, MissingRecords
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.layout import RESERVED
from django_etcdaero.datasets.publish.forgetting import StoredDataset, stored_datasets
from django_etcdaero.datasets.registry import datasets
from django_etcdaero.datasets.state.overview import Overview, overview
from django_etcdaero.datasets.state.presence import Process, processes
from django_etcdaero.datasets.state.read_ahead import read_ahead
from django_etcdaero.datasets.state.reading import read_announcements
from django_etcdaero.doctor.checking import NotVisible, Probe
from django_etcdaero.doctor.subjects import Alias
from django_etcdaero.exceptions import ResponseError
from django_etcdaero.keyvalue.queue.holder import Holder
from django_etcdaero.system.clocks import monotonic

MOST_KEYS: Final = 20_000
"""Keys of users that are looked through for locks."""
_PAGE: Final = 1000
_CONTENDER: Final = re.compile(rb"(.+)/-?[0-9a-f]{1,16}(?:-[0-9]+)?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Datasets:
    """The datasets that use the alias."""

    overviews: tuple[Overview, ...] = ()
    senseless: Mapping[str, str] = field(default_factory=dict)
    """By name, what is wrong with the state of a dataset that could not be read."""
    at: float = 0.0
    """When it was read, seconds since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Records of current versions, as the record store has them."""

    missing: Mapping[str, int]
    """By dataset, how many records of its current version are not there, or cannot be read."""
    mortal: Mapping[str, int]
    """By dataset, how many are there and will expire."""
    looked_at: int
    """Datasets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Who stands in line for a name of the project's own."""

    name: str
    holder: Holder
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """The queues for locks and elections under the prefix of the alias."""

    found: tuple[Queue, ...]
    whole: bool
    """Whether all keys were looked through."""
    at: float


def _datasets(alias: Alias, timeout: float) -> Datasets:
    stores = alias.stores()
    own = [dataset for _, dataset in sorted(datasets.items()) if dataset.using == alias.settings.alias]
    if not own:
        return Datasets(at=time.time())
    ahead = replace(stores, kv=read_ahead(stores.kv))
    announcements = read_announcements(ahead.kv)
    found, senseless = [], {}
    for dataset in own:
        try:
            found.append(overview(dataset, ahead, announcements=announcements))
        except ResponseError as error:
            senseless[dataset.name] = str(error)
    return Datasets(overviews=tuple(found), senseless=senseless, at=time.time())


def _processes(alias: Alias, timeout: float) -> tuple[Process, ...]:
    return tuple(processes(alias.stores().kv))


def _stored(alias: Alias, timeout: float) -> tuple[StoredDataset, ...]:
    return tuple(stored_datasets(using=alias.settings.alias))


def _lost(alias: Alias, timeout: float) -> Lost:
    """Look whether all records of current versions are there; for as long as there is time."""
    until, stores = monotonic() + timeout * 0.9, alias.stores()
    missing, mortal, looked_at = {}, {}, 0
    announced = read_announcements(stores.kv).found
    for name, dataset in sorted(datasets.items()):
        current = announced.get((name, dataset.schema))
        if dataset.using != alias.settings.alias or current is None or current.announcement is None:
            continue
        if monotonic() > until:
            break
        looked_at += 1
        blocks = BlockStore(stores.records, dataset.layout(stores.prefix))
        try:
            names = set(Manifest.load(blocks.fetch, bytes.fromhex(current.announcement.root)).digests())
        except MissingRecords as error:
            missing[name] = len(error.missing)
            continue
        except DamagedRecord:
            missing[name] = 1
            continue
        found = blocks.exists(names)
        missing[name] = len(names) - len(found)
        mortal[name] = sum(meta.ttl is not None for meta in found.values())
    return Lost(missing=missing, mortal=mortal, looked_at=looked_at)


def _queues(alias: Alias, timeout: float) -> Queues:
    """Find keys that are laid out as contenders are and hang on a lease, outside of this package's own."""
    kv, until = alias.stores().kv, monotonic() + timeout * 0.9
    reserved = tuple(room.encode() for room in RESERVED)
    names: dict[bytes, list[tuple[int, bytes]]] = {}
    whole = True
    for looked, item in enumerate(kv.iterate("", prefix=True, keys_only=True, page_size=_PAGE)):
        if looked > MOST_KEYS or monotonic() > until:
            whole = False
            break
        match = _CONTENDER.fullmatch(item.key)
        if item.lease and match is not None and not item.key.startswith(reserved) and b":contenders/" not in item.key:
            names.setdefault(match[1], []).append((item.create_revision, item.key))
    found = []
    for name, line in sorted(names.items(), key=lambda each: min(each[1]))[:100]:
        first = kv.get(min(line)[1])
        if first is not None:
            holder = Holder.read(first, first.value)
            found.append(Queue(name=name.decode(errors="backslashreplace"), holder=holder, waiting=len(line) - 1))
    return Queues(found=tuple(found), whole=whole, at=time.time())


def _lost_or_unknown(alias: Alias, timeout: float) -> Lost:
    try:
        return _lost(alias, timeout)
    except ResponseError as error:
        raise NotVisible(str(error)) from error


DATASETS = Probe("datasets", _datasets)
PROCESSES = Probe("processes", _processes)
STORED = Probe("stored", _stored)
LOST = Probe("lost", _lost_or_unknown)
QUEUES = Probe("queues", _queues)
