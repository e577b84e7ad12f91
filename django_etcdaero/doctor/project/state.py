"""What an alias keeps of datasets, processes and locks: read once, judged by several checks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.digests import DamagedRecord, MissingRecords
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.publish.forgetting import StoredDataset, stored_datasets
from django_etcdaero.datasets.registry import datasets
from django_etcdaero.datasets.state.overview import Overview
from django_etcdaero.datasets.state.presence import Process, readers
from django_etcdaero.datasets.state.reading import read_announcements
from django_etcdaero.doctor.checking import NotVisible, Probe
from django_etcdaero.doctor.subjects import Alias
from django_etcdaero.exceptions import ResponseError
from django_etcdaero.inspection.cluster_status import each_overview
from django_etcdaero.inspection.key_owners import belongs_to_package
from django_etcdaero.inspection.locks import Contended, all_contended
from django_etcdaero.system.clocks import monotonic

MOST_KEYS: Final = 100_000
"""Keys of an alias that are looked through for locks, whenever an overview is shown."""


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
class Queues:
    """The locks and elections under the prefix of the alias that are not this package's own."""

    found: tuple[Contended, ...]
    left_out: int = 0
    """Keys for which there was no time."""
    at: float
    """When they were read, seconds since the epoch."""


def _datasets(alias: Alias, timeout: float) -> Datasets:
    stores = alias.stores()
    own = [dataset for _, dataset in sorted(datasets.items()) if dataset.using == alias.settings.alias]
    if not own:
        return Datasets(at=time.time())
    overviews, senseless = [], {}
    for dataset, found in each_overview(own, stores):
        if isinstance(found, ResponseError):
            senseless[dataset.name] = str(found)
        elif isinstance(found, Exception):
            raise found
        else:
            overviews.append(found)
    return Datasets(overviews=tuple(overviews), senseless=senseless, at=time.time())


def _processes(alias: Alias, timeout: float) -> tuple[Process, ...]:
    return tuple(readers(alias.stores().kv))


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
    kv = alias.stores().kv
    count = kv.range("", prefix=True, count_only=True, timeout=timeout).count
    if count > MOST_KEYS:
        raise NotVisible(f"{count:,} keys are too many to look through for locks; python manage.py etcdaero_locks does")
    looked = all_contended(kv, seconds=timeout * 0.9)
    found = tuple(each for each in looked.found if not belongs_to_package(each.name))
    return Queues(found=found, left_out=looked.left_out, at=time.time())


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
