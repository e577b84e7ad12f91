"""An engine that passes everything on to another one, counts the calls, and fails or delays those it is told to."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.keyvalue.values import (
    DeleteRequest,
    DeleteResult,
    LeaseStatus,
    PutRequest,
    PutResult,
    RangeRequest,
    RangeResult,
    RenewalSink,
    TxnRequest,
    TxnResult,
    WatchBatch,
    WatchHandle,
    WatchRequest,
    WatchSink,
)
from django_etcdaero.system.pool import Pool

T = TypeVar("T")


class CountedHandle(WatchHandle):
    def __init__(self, inner: WatchHandle, engine: InterposedEngine) -> None:
        self._inner = inner
        self._engine = engine

    def cancel(self) -> None:
        self._engine.running.discard(self)
        self._inner.cancel()


class InterposedEngine(Engine):
    def __init__(self, inner: Engine) -> None:
        self.inner = inner
        self.info = inner.info
        self.marks_caught_up = inner.marks_caught_up
        self.calls: Counter[str] = Counter()
        self.delivered = 0
        """Events that sinks have been given."""
        self.running: set[CountedHandle] = set()
        self.before: dict[str, Callable[[], object]] = {}
        self._faults: dict[str, deque[tuple[Exception, bool]]] = {}
        self._broken: dict[str, Exception] = {}
        self._mutex = threading.Lock()

    def fail(self, method: str, error: Exception, *, times: int = 1, applied: bool = False) -> None:
        """The next ``times`` calls of ``method`` raise ``error``, with ``applied`` after having done their work."""
        self._faults.setdefault(method, deque()).extend([(error, applied)] * times)

    def break_(self, method: str, error: Exception) -> None:
        """All calls of ``method`` raise ``error`` until :meth:`mend`."""
        self._broken[method] = error

    def mend(self) -> None:
        self._broken.clear()
        self._faults.clear()

    def pending_faults(self, method: str) -> int:
        return len(self._faults.get(method, ()))

    def _pass(self, method: str, call: Callable[..., T], *args: Any, **options: Any) -> T:
        with self._mutex:
            self.calls[method] += 1
            faults = self._faults.get(method)
            fault = faults.popleft() if faults else None
        if method in self.before:
            self.before[method]()
        if method in self._broken:
            raise self._broken[method]
        if fault is not None and not fault[1]:
            raise fault[0]
        answer = call(*args, **options)
        if fault is not None:
            raise fault[0]
        return answer

    def range(self, request: RangeRequest, *, timeout: float | None = None) -> RangeResult:
        return self._pass("range", self.inner.range, request, timeout=timeout)

    def put(self, request: PutRequest, *, timeout: float | None = None) -> PutResult:
        return self._pass("put", self.inner.put, request, timeout=timeout)

    def delete_range(self, request: DeleteRequest, *, timeout: float | None = None) -> DeleteResult:
        return self._pass("delete_range", self.inner.delete_range, request, timeout=timeout)

    def txn(self, request: TxnRequest, *, timeout: float | None = None) -> TxnResult:
        return self._pass("txn", self.inner.txn, request, timeout=timeout)

    def compact(self, revision: int, *, physical: bool = False, timeout: float | None = None) -> None:
        self._pass("compact", self.inner.compact, revision, physical=physical, timeout=timeout)

    def lease_grant(self, ttl: int, *, lease_id: int = 0, timeout: float | None = None) -> LeaseStatus:
        return self._pass("lease_grant", self.inner.lease_grant, ttl, lease_id=lease_id, timeout=timeout)

    def lease_revoke(self, lease_id: int, *, timeout: float | None = None) -> None:
        self._pass("lease_revoke", self.inner.lease_revoke, lease_id, timeout=timeout)

    def lease_keep_alive(self, lease_id: int, *, timeout: float | None = None) -> int:
        return self._pass("lease_keep_alive", self.inner.lease_keep_alive, lease_id, timeout=timeout)

    def lease_keep_alive_many(
        self,
        lease_ids: Sequence[int],
        sink: RenewalSink,
        *,
        clock: Callable[[], float] = time.monotonic,
        timeout: float | None = None,
    ) -> None:
        renew = self.inner.lease_keep_alive_many
        self._pass("lease_keep_alive", renew, lease_ids, sink, clock=clock, timeout=timeout)

    def lease_time_to_live(self, lease_id: int, *, keys: bool = False, timeout: float | None = None) -> LeaseStatus:
        return self._pass("lease_time_to_live", self.inner.lease_time_to_live, lease_id, keys=keys, timeout=timeout)

    def lease_list(self, *, timeout: float | None = None) -> tuple[int, ...]:
        return self._pass("lease_list", self.inner.lease_list, timeout=timeout)

    def watch(self, request: WatchRequest, sink: WatchSink, *, timeout: float | None = None) -> WatchHandle:
        def count(batch: WatchBatch) -> None:
            sink(batch)
            self.delivered += len(batch.events)

        handle = CountedHandle(self._pass("watch", self.inner.watch, request, count, timeout=timeout), self)
        self.running.add(handle)
        return handle

    def _threads(self) -> Pool:
        return self.inner._threads()  # which stops them when it is closed

    def close(self) -> None:
        self._stop_threads()
        self.inner.close()

    def abandon(self) -> None:
        self.inner.abandon()
