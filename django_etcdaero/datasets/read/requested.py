"""A request for a load, and waiting until this process serves what the load gave: reading one's own write.

A request that is made inside a transaction of the project is sent when that is committed, so that the load that answers
it finds what was written. With transactions open on several databases it is sent at the commit of each: the change may
be in any of them, and of those still open nobody knows what will become.

Waiting watches the notes of loads that came to their end and of those that failed, and looks at them now and then for
the case that a watch tells nothing. What the load gave is served when the reader of this process holds the announcement
that stood when the load was noted, or a newer one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, suppress
from typing import Any, Generic, TypeVar

from django_etcdaero.datasets.host import host
from django_etcdaero.datasets.snapshot import Index, Snapshot
from django_etcdaero.datasets.state.reading import read_state
from django_etcdaero.datasets.state.schedule import Asked, answers, held_back_until, is_due, next_due, request_load
from django_etcdaero.datasets.state.sightings import Ages, sightings
from django_etcdaero.datasets.state.stored_state import StoredState
from django_etcdaero.exceptions import (
    Cancelled,
    DatasetNotReady,
    DeadlineExceeded,
    InvalidRequest,
    RefreshInTransaction,
)
from django_etcdaero.system.acting import acts
from django_etcdaero.system.clocks import elapsed
from django_etcdaero.system.conditions import Flag
from django_etcdaero.system.durations import check_seconds
from django_etcdaero.system.threads import in_event_loop

from .live import LiveDataset, live_state

K = TypeVar("K")
V = TypeVar("V")

LOOK_EVERY = 5.0
"""Seconds between two looks, when nothing tells of a change."""
AWAITED = 30.0
"""Seconds that ``await request`` waits at most."""


class RefreshRequest(Generic[K, V, Index]):
    """A request for a load: see :meth:`~django_etcdaero.Dataset.request_refresh`.

    ``request.wait(10)``, ``await request.await_(10)`` and ``await request`` (30 seconds) return once this process
    serves what a load gave that began after the request. Any number of threads and tasks may wait.
    """

    def __init__(self, dataset: LiveDataset[K, V]) -> None:
        self._dataset = dataset
        self._asked: Asked | None = None
        self._failure: Exception | None = None
        """Why it could not be sent when the transaction was committed."""
        self._open: Callable[[], bool] | None = host().on_commit(self._send_at_commit)
        """Whether a transaction is still open in which it was made; ``None``: there was none."""
        if self._open is None:
            self._send()

    def __repr__(self) -> str:
        if self._open is not None and self._open():
            state = "waits for the commit"
        elif self._asked is not None:
            state = "sent"
        else:
            state = "not sent"
        return f"<RefreshRequest of {self._dataset.name}: {state}>"

    @property
    def asked(self) -> Asked | None:
        """The request as it stands in the store; ``None``: it was not sent, or not yet."""
        return self._asked

    def _send(self) -> None:
        self._asked = request_load(self._dataset, host().stores(self._dataset.using), repair=False)

    def _send_at_commit(self) -> None:
        try:
            self._send()
        except Exception as error:
            self._failure = error
            raise
        self._failure = None

    @acts
    def wait(self, timeout: float) -> Snapshot[K, V, Index]:
        """Wait until this process serves what a load gave that began after the request, and return it.

        That is a version, or the one held already if the load found it unchanged. ``timeout`` is in seconds. Raises
        ``DeadlineExceeded`` with what is known of why, earlier if no load will begin in that time because the last one
        failed or ``request_every`` is not over. At once it raises ``RefreshInTransaction`` before the commit,
        ``Cancelled`` after a rollback (or a failure in another ``on_commit()`` function, after which Django calls no
        more of them), ``InvalidRequest`` in an event loop, which it would block, and
        ``DatasetNotReady`` where no reader may run or readers are pinned to another version. It also raises what the
        store raises.
        """
        if in_event_loop():
            raise InvalidRequest(
                f"dataset {self._dataset.name!r}: wait() would block the event loop; 'await request' or "
                "'await request.await_(seconds)' waits without that"
            )
        changed = Flag()
        waiting = _Waiting(self._dataset, self._sent(), timeout, changed.set)
        try:
            waiting.follow()
            while True:
                changed.clear()
                found: Snapshot[K, V, Index] | None = waiting.look()
                if found is not None:
                    return found
                changed.wait(waiting.nap)
        finally:
            waiting.close()

    @acts
    async def await_(self, timeout: float) -> Snapshot[K, V, Index]:
        """Do what :meth:`wait` does without blocking the event loop."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(changed.set)

        waiting = _Waiting(self._dataset, self._sent(), timeout, wake)
        try:
            await asyncio.to_thread(waiting.follow)
            while True:
                changed.clear()
                found: Snapshot[K, V, Index] | None = await asyncio.to_thread(waiting.look)
                if found is not None:
                    return found
                with suppress(TimeoutError):
                    async with asyncio.timeout(waiting.nap):
                        await changed.wait()
        finally:
            waiting.close()

    def __await__(self) -> Generator[Any, None, Snapshot[K, V, Index]]:
        return self.await_(AWAITED).__await__()

    def _sent(self) -> Asked:
        name = self._dataset.name
        if self._open is not None and self._open():
            raise RefreshInTransaction(
                f"dataset {name!r}: the request was made inside a transaction and is sent when that is committed: wait "
                "for it after the block"
            )
        if self._failure is not None:
            raise self._failure
        if self._asked is None:
            raise Cancelled(
                f"dataset {name!r}: the request was never sent: the transaction was rolled back, or another function "
                "that was to be called after its commit failed before"
            )
        return self._asked


class _Waiting:
    """One wait for the answer to a request. ``wake`` is called, from any thread, when it is to be looked again."""

    def __init__(self, dataset: LiveDataset[Any, Any], asked: Asked, timeout: float, wake: Callable[[], None]) -> None:
        self._dataset = dataset
        self._asked = asked
        self._timeout = check_seconds("timeout", timeout)
        self._until = elapsed() + self._timeout
        self._wake = wake
        self._host = host()
        self._live = live_state(dataset)
        self._lock = threading.Lock()
        self._followed = ExitStack()
        self._closed = False

    @property
    def nap(self) -> float:
        """Seconds until the next look, if nothing is told before."""
        return max(0.0, min(LOOK_EVERY, self._until - elapsed()))

    def follow(self) -> None:
        """Begin to watch. Raises ``DatasetNotReady`` where no reader may run, and what the store raises."""
        if self._live.overridden is not None:
            return
        self._host.ensure_reader()
        refusal = self._host.reader_refusal()
        if refusal is not None:
            raise DatasetNotReady(f"dataset {self._dataset.name!r}: no load can arrive in this process: {refusal}")
        stores = self._host.stores(self._dataset.using)
        layout = self._dataset.layout(stores.prefix)
        with self._lock:
            if self._closed:
                return
            with self._live.guard:
                self._live.wakers.add(self._wake)
            self._followed.callback(self._forget)
            for key in (layout.checked, layout.attempt):
                watch = stores.kv.watch(key, callback=lambda item: self._wake())
                self._followed.callback(watch.cancel)

    def _forget(self) -> None:
        with self._live.guard:
            self._live.wakers.discard(self._wake)

    def close(self) -> None:
        """End it."""
        with self._lock:
            self._closed = True
            self._followed.close()

    def look(self) -> Snapshot[Any, Any, Any] | None:
        """Return what is served, if it is what was waited for; raise what :meth:`RefreshRequest.wait` says."""
        if self._live.overridden is not None:  # whatever is loaded
            return self._dataset.snapshot()
        stores = self._host.stores(self._dataset.using)
        layout, late = self._dataset.layout(stores.prefix), elapsed() >= self._until
        state = read_state(stores.kv, layout)
        answered = answers(state.checked, self._asked)
        if answered and self._serves(state):
            return self._dataset.snapshot()
        if answered:
            self._host.wake_reader(self._dataset)
        elif not late:
            reason = self._hopeless(state, sightings(stores.kv, layout).ages(time.time()))
            if reason is not None:
                raise self._error(f"no load will answer the request within {self._timeout:g} s: {reason}")
        if late:
            holder = None if answered else stores.kv.lock(layout.lock).holder()
            reason = self._why_late(state, answered, None if holder is None else str(holder))
            raise self._error(f"the request was not answered within {self._timeout:g} s: {reason}")
        return None

    def _serves(self, state: StoredState) -> bool:
        """Tell whether this process holds what the load has found. Raises ``DatasetNotReady`` if it never will."""
        current, checked = state.current, state.checked
        if current is None or checked is None:
            return False
        if current.version != checked.version:
            if state.pin is None:
                return False  # announced meanwhile, and released: another load is asked for
            raise DatasetNotReady(
                f"dataset {self._dataset.name!r}: the load gave version {checked.version}, which is not served: "
                f"readers are pinned to version {state.pin.version} until unpin()"
            )
        with self._live.guard:
            loaded, held = self._live.loaded, self._live.held
        if loaded is None or loaded.announcement is None:
            return False
        if loaded.announcement.id == current.id:
            return True
        same = held is not None and held.id == loaded.announcement.id
        return same and held is not None and held.order > (current.epoch, state.current_revision)

    def _hopeless(self, state: StoredState, ages: Ages) -> str | None:
        """Say why no refresher will begin a load in the time that is left, if so."""
        last = ages.now + self._until - elapsed()
        until = held_back_until(state, self._dataset, ages)
        if until is not None and state.attempt is not None:
            return _failed(state) if until > last else None
        if state.pending is None:
            return None
        due = None if is_due(state, self._dataset, ages) else next_due(state, self._dataset, ages)
        if due is None or due <= last:
            return None
        return f"the next load is due in {due - ages.now:.0f} s (request_every)"

    def _why_late(self, state: StoredState, answered: bool, holder: str | None) -> str:
        if answered and state.current is not None:
            trouble = self._dataset.status().error
            reason = f"version {state.current.version} was loaded, and this process does not hold it yet"
            return f"{reason} ({trouble})" if trouble else reason
        reasons = []
        if state.attempt is not None:
            reasons.append(_failed(state))
        if holder is not None:
            reasons.append(f"being loaded by {holder}")
        elif state.attempt is None:
            reasons.append("no load has begun since; does 'manage.py etcdaero_refresh --loop' run?")
        return "; ".join(reasons)

    def _error(self, text: str) -> DeadlineExceeded:
        return DeadlineExceeded(f"dataset {self._dataset.name!r}: {text}")


def _failed(state: StoredState) -> str:
    attempt = state.attempt
    assert attempt is not None
    return f"the last load failed: {attempt.error} (on {attempt.host}/{attempt.pid})"
