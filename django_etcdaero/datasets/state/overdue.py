"""Loads that hang: each process leaves word of its own, for as long as they hang and it lives."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass

from django_etcdaero.datasets.layout import Layout
from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.recipes.temporary import TemporaryKey

from .stored_value import StoredValue

logger = logging.getLogger("django_etcdaero.datasets")


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueLoad(StoredValue):
    """A load that has taken longer than its ``load_timeout`` and has not ended: given up, but still there."""

    since: float
    """When it began, seconds since the epoch."""
    limit: float
    """Its ``load_timeout``, seconds."""


def leave_word(kv: KV, layout: Layout, load: OverdueLoad, *, ttl: int) -> TemporaryKey | None:
    """Put the key; closing what is returned deletes it. ``None``: the store did not take it, which is logged."""
    try:
        return kv.temporary_key(layout.overdue + secrets.token_hex(8), load.encode(), ttl=ttl)
    except EtcdAeroError as error:
        logger.warning("dataset %s: that a load hangs could not be noted: %s", layout.name, error)
        return None


def overdue_loads(kv: KV, layout: Layout) -> list[OverdueLoad]:
    """Return the loads of a dataset that hang, the oldest first. Raises what the store raises."""
    found = [OverdueLoad.believe(item) for item in kv.range(layout.overdue, prefix=True).kvs]
    return sorted((each for each in found if each is not None), key=lambda each: each.since)
