"""How far back the history of a store can be read."""

from __future__ import annotations

from dataclasses import dataclass

from django_etcdaero.exceptions import Compacted
from django_etcdaero.keyvalue.arguments import end_of
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.system.clocks import monotonic

_PROBE = b"etcdaero-reach"
"""Any key: whether it is there does not matter."""
_SHORTEST = 0.01
"""Seconds for a read that should be over already, so that it is the store that says that it took too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The revisions that can be read, both included."""

    oldest: int
    newest: int

    @property
    def kept(self) -> int:
        """Revisions before the newest one."""
        return self.newest - self.oldest


def reach(kv: KV, *, timeout: float | None = None) -> Reach:
    """Return which revisions can be read now. ``timeout``: seconds for all of it. Raises what the store raises."""
    until = end_of(timeout)
    newest = kv.range(_PROBE, keys_only=True, timeout=timeout).revision
    oldest = oldest_readable(kv, newest, timeout=None if until is None else max(_SHORTEST, until - monotonic()))
    return Reach(oldest=oldest, newest=max(oldest, newest))


def oldest_readable(kv: KV, newest: int, *, wanted: int = 1, timeout: float | None = None) -> int:
    """Return the oldest revision from ``wanted`` on that can be read. ``timeout``: seconds for all of it.

    ``newest``: of the store; the answer is above it only if the store was compacted meanwhile. A read of the first
    revision tells it where the store says with the error how far it was compacted. etcd does not; there it is searched
    for by halving, with as many reads of one key as there are binary digits in the number of revisions. Raises what the
    store raises.
    """
    until = end_of(timeout)

    def compacted_to(revision: int) -> int | None:
        return _compacted_to(kv, revision, None if until is None else max(_SHORTEST, until - monotonic()))

    low, high = wanted, newest  # high can be read
    told = compacted_to(low)
    if told is None:
        return low
    if told:
        return told
    while high - low > 1:
        middle = (low + high) // 2
        if compacted_to(middle) is None:
            high = middle
        else:
            low = middle
    return high


def _compacted_to(kv: KV, revision: int, timeout: float | None) -> int | None:
    """Return ``None`` if the revision can be read, else the oldest one that can (0: the store did not say)."""
    try:
        kv.get(_PROBE, revision=revision, timeout=timeout)
    except Compacted as error:
        return error.compact_revision
    return None
