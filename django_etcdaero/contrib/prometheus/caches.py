"""What the caches of this process do.

They count for themselves, in plain integers, so that a hit costs nothing more than before (``cache/counters.py``). What
has been counted since the last time is added to the metrics at the end of each request and of each refresh, when the
process ends, and whenever :func:`update` is called.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.core.cache import caches
from django.core.signals import request_finished
from prometheus_client import Counter, Histogram

from django_etcdaero.cache.calls import counters_of
from django_etcdaero.cache.configured import ours
from django_etcdaero.cache.counters import BOUNDS, Counters
from django_etcdaero.signals import refresh_ended
from django_etcdaero.system import forks


class _Seconds(Histogram):
    """A histogram to which can be added what was counted elsewhere, in the same buckets."""

    def add(self, counts: Sequence[int], seconds: float) -> None:
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(seconds)


COUNTED: Final = {
    "hits": Counter("etcdaero_cache_hits", "Gets that found an entry, near ones included.", ["cache"]),
    "near_hits": Counter("etcdaero_cache_near_hits", "Gets answered without a call to the store.", ["cache"]),
    "stale_hits": Counter("etcdaero_cache_stale_hits", "Answers of get_or_set() that had expired.", ["cache"]),
    "misses": Counter("etcdaero_cache_misses", "Gets that found no entry.", ["cache"]),
    "sets": Counter("etcdaero_cache_sets", "Entries written.", ["cache"]),
    "deletes": Counter("etcdaero_cache_deletes", "Entries deleted.", ["cache"]),
    "errors": Counter("etcdaero_cache_errors", "Calls that failed at the store.", ["cache"]),
    "ignored": Counter("etcdaero_cache_ignored", "Calls not made because the store was away.", ["cache"]),
    "loads": Counter("etcdaero_cache_loads", "Values that get_or_set() made.", ["cache"]),
    "load_errors": Counter("etcdaero_cache_load_errors", "Loads of get_or_set() that raised.", ["cache"]),
    "waits": Counter("etcdaero_cache_waits", "Times that get_or_set() waited for another load.", ["cache"]),
    "unreadable": Counter("etcdaero_cache_unreadable", "Entries that could not be read.", ["cache"]),
    "too_big": Counter("etcdaero_cache_too_big", "Values that were too big to be stored.", ["cache"]),
    "bytes_read": Counter("etcdaero_cache_read_bytes", "Bytes read from the store.", ["cache"]),
    "bytes_written": Counter("etcdaero_cache_written_bytes", "Bytes written to the store.", ["cache"]),
}
"""By the names in :class:`~django_etcdaero.cache.counters.Counters`."""

CALL_SECONDS = _Seconds(
    "etcdaero_cache_call_seconds",
    "How long calls to the store took, and loads of get_or_set().",
    ["cache", "operation"],
    buckets=BOUNDS,
)

BACKEND: Final = "etcdaero"
"""The value of the label ``backend`` under the names of django-prometheus."""


class _Told(NamedTuple):
    """What of a cache is in the metrics already."""

    counters: Counters
    resets: int
    counts: dict[str, int]
    latencies: dict[str, tuple[tuple[int, ...], float]]


_told: dict[str, _Told] = {}
_django_names: dict[str, list[Counter]] = {}
"""By the names of counts, those of django-prometheus that they are added to."""
_lock = threading.Lock()


def connect(*, django_names: bool) -> None:
    """Count from now on; ``django_names``: under the names of django-prometheus too."""
    if django_names and not _django_names:
        _django_names.update(_named_by_django_prometheus())
    request_finished.connect(update)
    refresh_ended.connect(update)
    forks.in_child(_renew_lock)
    atexit.register(update)


def update(sender: Any = None, **kwargs: Any) -> None:
    """Add to the metrics what the caches of this process have counted since the last time.

    For processes that serve no requests, such as those that run tasks: at the end of each task.
    """
    if not _lock.acquire(blocking=False):
        return  # another thread does it
    try:
        seen: list[Counters] = []
        for alias, _ in ours():
            counters = counters_of(caches[alias])
            if counters is not None and not any(counters is each for each in seen):  # two aliases may be one cache
                seen.append(counters)
                _add(alias, counters)
    finally:
        _lock.release()


def _add(alias: str, counters: Counters) -> None:
    before = _told.get(alias)
    if before is None or before.counters is not counters or before.resets != counters.resets:
        before = _Told(counters, counters.resets, {}, {})
    now = _Told(
        counters,
        counters.resets,
        {name: getattr(counters, name) for name in COUNTED},
        {name: each.so_far() for name, each in counters.latencies.copy().items()},
    )
    _told[alias] = now
    for name, count in now.counts.items():
        told = before.counts.get(name)
        if told != count:  # a cache begins with samples that are 0
            more = max(0, count - (told or 0))
            COUNTED[name].labels(alias).inc(more)
            for metric in _django_names.get(name, ()):
                metric.labels(BACKEND).inc(more)
    for operation, latencies in now.latencies.items():
        old = before.latencies.get(operation)
        if old != latencies:
            counts, seconds = latencies
            old_counts, old_seconds = old or ((0,) * len(counts), 0.0)
            more_counts = [max(0, count - told) for count, told in zip(counts, old_counts, strict=True)]
            CALL_SECONDS.labels(alias, operation).add(more_counts, max(0.0, seconds - old_seconds))


def _named_by_django_prometheus() -> dict[str, list[Counter]]:
    try:
        from django_prometheus.cache import metrics as theirs
    except ImportError:
        space = getattr(settings, "PROMETHEUS_METRIC_NAMESPACE", "")
        gets, hits, misses, fails = (
            Counter(f"django_cache_{name}_total", meaning, ["backend"], namespace=space)
            for name, meaning in [
                ("get", "Gets."),
                ("get_hits", "Gets that found an entry."),
                ("get_misses", "Gets that found no entry."),
                ("get_fail", "Calls that failed."),
            ]
        )
    else:
        gets, hits = theirs.django_cache_get_total, theirs.django_cache_hits_total
        misses, fails = theirs.django_cache_misses_total, theirs.django_cache_get_fail_total
    return {"hits": [gets, hits], "misses": [gets, misses], "errors": [fails]}


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()  # a thread of the parent may have held it
