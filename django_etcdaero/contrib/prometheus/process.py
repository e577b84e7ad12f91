"""What this process does with datasets and stores, counted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Any, Final

from django.dispatch import Signal
from prometheus_client import Counter, Histogram

from django_etcdaero import signals, tracing
from django_etcdaero.datasets.state.status import Outcome, RefreshResult
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.interposing import Around

_LOADED: Final = (Outcome.REFRESHED, Outcome.UNCHANGED, Outcome.FENCED, Outcome.FAILED)
_CALL_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_REFRESH_BUCKETS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)

REFRESHES = Counter("etcdaero_refreshes", "Refreshes, by how they ended.", ["dataset", "outcome"])
REFRESH_SECONDS = Histogram(
    "etcdaero_refresh_seconds",
    "How long refreshes took that loaded their source, or failed.",
    ["dataset"],
    buckets=_REFRESH_BUCKETS,
)
TAKEN_OVER = Counter("etcdaero_versions_taken_over", "Versions that processes took over into memory.", ["dataset"])
TAKEOVER_FAILURES = Counter(
    "etcdaero_takeover_failures", "Versions that a process could not take over, once for each reason.", ["dataset"]
)
LOCKS_LOST = Counter("etcdaero_locks_lost", "Refreshes that lost their lock.", ["dataset"])
KV_SECONDS = Histogram(
    "etcdaero_kv_call_seconds", "How long calls to KV took.", ["alias", "call"], buckets=_CALL_BUCKETS
)
KV_ERRORS = Counter("etcdaero_kv_call_errors", "Calls to KV that raised, by the error.", ["alias", "call", "error"])
RECORD_SECONDS = Histogram(
    "etcdaero_record_call_seconds",
    "How long calls to record stores took; a store that only a cache has is of no alias.",
    ["alias", "call"],
    buckets=_CALL_BUCKETS,
)
RECORD_ERRORS = Counter(
    "etcdaero_record_call_errors", "Calls to record stores that raised, by the error.", ["alias", "call", "error"]
)


_ends: list[Callable[[], object]] = []


def connect() -> None:
    """Count from now on."""
    if _ends:
        return
    receivers: dict[Signal, Callable[..., None]] = {
        signals.refresh_ended: _count_refresh,
        signals.dataset_loaded: _count_version,
        signals.dataset_failed: _count_failure,
        signals.lock_lost: _count_lost_lock,
    }
    for signal, receiver in receivers.items():
        signal.connect(receiver)
        _ends.append(partial(signal.disconnect, receiver))
    _ends.append(
        tracing.observe(
            kv=lambda alias, engine: _timing(KV_SECONDS, KV_ERRORS, alias),
            records=lambda alias, store: _timing(RECORD_SECONDS, RECORD_ERRORS, alias or ""),
        )
    )


def disconnect() -> None:
    """Count no more."""
    while _ends:
        _ends.pop()()


def _count_refresh(sender: Any, *, result: RefreshResult, **kwargs: Any) -> None:
    REFRESHES.labels(result.name, str(result.outcome)).inc()
    if result.outcome in _LOADED:
        REFRESH_SECONDS.labels(result.name).observe(result.seconds)


def _count_version(sender: Any, *, dataset: Any, **kwargs: Any) -> None:
    TAKEN_OVER.labels(dataset.name).inc()


def _count_failure(sender: Any, *, dataset: Any, phase: str, **kwargs: Any) -> None:
    if phase == "load":
        TAKEOVER_FAILURES.labels(dataset.name).inc()


def _count_lost_lock(sender: Any, *, dataset: Any, **kwargs: Any) -> None:
    LOCKS_LOST.labels(dataset.name).inc()


def _timing(seconds: Histogram, errors: Counter, alias: str) -> Around:
    by_call: dict[str, Histogram] = {}

    def around(call: str, argument: object) -> AbstractContextManager[object]:
        found = by_call.get(call)
        if found is None:
            found = by_call[call] = seconds.labels(alias, call)
        return _Timed(found, errors, alias, call)

    return around


class _Timed(AbstractContextManager[object]):
    """One call."""

    __slots__ = ("_alias", "_call", "_errors", "_seconds", "_started")

    def __init__(self, seconds: Histogram, errors: Counter, alias: str, call: str) -> None:
        self._seconds, self._errors, self._alias, self._call = seconds, errors, alias, call

    def __enter__(self) -> object:
        self._started = monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._seconds.observe(max(0.0, monotonic() - self._started))
        if kind is not None and issubclass(kind, Exception):
            self._errors.labels(self._alias, self._call, kind.__name__).inc()
