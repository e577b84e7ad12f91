"""A store that fails when a test wants it to: what does the code under test do then?"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from django_etcdaero.connections import kvs
from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue.client.watch import ResyncReason
from django_etcdaero.keyvalue.interception import CALLS, interpose
from django_etcdaero.keyvalue.values import WatchBatch, WatchHandle, WatchLost, WatchRequest, WatchSink

from .blocks import Block


class failing_kv(Block):  # noqa: N801 - named like override_dataset
    """Make calls of an alias's key-value store raise ``error`` in a ``with`` block or a decorated test or test class.

    ``calls`` are those that fail, by the names of the engine (:data:`~django_etcdaero.keyvalue.interception.CALLS`);
    all by default. ``get`` is a ``range``; locks, elections and increments are made of ``txn`` and ``range``; awaited
    calls go by the name without the ``a``. Only the first ``times`` of them fail (``None``: each). ``applied=True``
    lets the store do its work before the error is raised, as when an answer is lost. ``failed`` counts the failures
    since the block was entered; each test of a decorated class enters it anew.

    Whoever uses the store meets the error: the code under test, the reader of the datasets, the renewal of leases.
    Blocks nest. Raises ``InvalidRequest`` for an unknown call.
    """

    def __init__(
        self,
        error: Exception,
        *,
        calls: Collection[str] = CALLS,
        times: int | None = None,
        applied: bool = False,
        alias: str = "default",
    ) -> None:
        unknown = sorted({calls} if isinstance(calls, str) else set(calls) - set(CALLS))
        if unknown:
            raise InvalidRequest(f"calls has {unknown[0]!r}; it is a collection of {', '.join(CALLS)}")
        self.failed = 0
        self._error = error
        self._calls = frozenset(calls)
        self._times = times
        self._applied = applied
        self._alias = alias
        self._mutex = threading.Lock()
        self._ends: list[Callable[[], None]] = []

    def __enter__(self) -> failing_kv:
        end = interpose(kvs[self._alias].engine, self._around)
        if not self._ends:
            self.failed = 0
        self._ends.append(end)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ends.pop()()

    @contextmanager
    def _around(self, call: str, argument: Any) -> Iterator[None]:
        fails = call in self._calls and self._count()
        if fails and not self._applied:
            raise self._error.with_traceback(None)
        yield
        if fails:
            raise self._error.with_traceback(None)

    def _count(self) -> bool:
        with self._mutex:
            if self._times is not None and self.failed >= self._times:
                return False
            self.failed += 1
            return True


class interruptible_watches:  # noqa: N801 - named like failing_kv
    """A ``with`` block gives ``interrupt(reason)``, which breaks the watches that were begun in the block.

    ``reason`` is ``ResyncReason.COMPACTED`` or ``ResyncReason.RESET``. Each watch raises
    :class:`~django_etcdaero.exceptions.EventsLost` and goes on from there, as it does when that happens to a
    store.
    """

    def __init__(self, *, alias: str = "default") -> None:
        self._alias = alias
        self._ends: list[Callable[[], None]] = []

    def __enter__(self) -> Callable[[ResyncReason], None]:
        engine = kvs[self._alias].engine
        begun: dict[object, WatchSink] = {}
        plain = engine.watch

        def watch(request: WatchRequest, sink: WatchSink, *, timeout: float | None = None) -> WatchHandle:
            handle = plain(request, sink, timeout=timeout)
            begun[handle] = sink
            return handle

        def interrupt(reason: ResyncReason) -> None:
            lost = {ResyncReason.COMPACTED: WatchLost.COMPACTED, ResyncReason.RESET: WatchLost.RESET}.get(reason)
            if lost is None:
                raise InvalidRequest(f"reason must be COMPACTED or RESET, not {reason}")
            for handle, sink in tuple(begun.items()):
                del begun[handle]
                sink(WatchBatch(lost=lost))

        watching = patch.object(engine, "watch", watch)
        watching.start()
        self._ends.append(watching.stop)
        return interrupt

    def __exit__(self, *exc_info: object) -> None:
        self._ends.pop()()
