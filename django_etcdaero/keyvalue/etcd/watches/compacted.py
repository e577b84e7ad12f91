"""What the oldest revision is that can still be read: etcd tells it to watches only, and not to whoever reads."""

from __future__ import annotations

import logging

from django_etcdaero.exceptions import Compacted, EtcdAeroError
from django_etcdaero.keyvalue.values import PromptSink, WatchBatch, WatchRequest
from django_etcdaero.system.clocks import monotonic

from .hub import WatchHub
from .watching import EtcdWatch, Settled, Settlement

_log = logging.getLogger("django_etcdaero.kv")

_PATIENCE = 2.0
"""Seconds: the server looks each tenth of one for watches that begin in the past."""


async def complete(refusal: Compacted, hub: WatchHub, key: bytes, deadline: float) -> Compacted:
    """Return the refusal with its ``compact_revision``, as it is if that cannot be found out in time. A protocol.

    ``key``: one that may be read.
    """
    told = _Told()
    watch = EtcdWatch(WatchRequest(key, start_revision=1), told, hub.forget)
    limit = min(deadline, monotonic() + _PATIENCE)
    try:
        await hub.start(watch, limit)
        await Settled(told.settled, max(0.0, limit - monotonic()))
    except EtcdAeroError as error:
        _log.debug("the oldest revision could not be found out: %s", error)
    finally:
        watch.cancel()
    return Compacted(str(refusal), told.compact_revision) if told.compact_revision else refusal


class _Told(PromptSink):
    """Takes the first answer of a watch from the beginning."""

    def __init__(self) -> None:
        self.settled = Settlement()
        self.compact_revision = 0

    def __call__(self, batch: WatchBatch) -> None:
        self.compact_revision = batch.compact_revision
        self.settled.set()
