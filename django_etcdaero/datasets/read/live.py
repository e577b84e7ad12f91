"""The reading side of a dataset: plain in-memory access, and the waiting before the first version has arrived.

The hot path is one attribute of one object: ``self._current.rows``. Everything that is not "a version is loaded" is
told by putting a :class:`.gate.Gate` there instead of a snapshot, so that reading needs no check of its own.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.host import host
from django_etcdaero.datasets.snapshot import Snapshot
from django_etcdaero.datasets.state.status import DatasetStatus, State
from django_etcdaero.exceptions import DatasetNotReady, DatasetStale, DeadlineExceeded
from django_etcdaero.system.threads import wait_for

from .placeholder import Gate

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Health:
    """What the reader knows of a dataset; replaced as a whole."""

    state: State = State.INITIALIZING
    since: float = 0.0
    error: str | None = None
    error_at: float | None = None
    failures: int = 0
    source_read_at: float | None = None
    lag: float | None = None


class LiveDataset(Declared[K, V], Mapping[K, V]):
    """A dataset as a mapping that always shows the newest version this process holds."""

    def __init__(self) -> None:
        self._current: Snapshot | Gate = Gate(self._first_read)
        self._loaded: Snapshot | None = None
        self._override: Snapshot | None = None
        self._refusal: str | None = None
        self._reader_died: Callable[[], bool] = _never
        self._health = Health(since=time.time())
        self._reset_waiting()

    def _reset_waiting(self) -> None:
        self._changed = threading.Condition()
        self._waited_in_vain = False
        self._wakers: set[Callable[[], None]] = set()

    def after_fork_in_child(self) -> None:
        """Make the locks anew: another thread of the parent may have held them. The snapshot is served on."""
        self._reset_waiting()
        self._reader_died = _never  # the parent's reader is not in this process

    # --- reading -----------------------------------------------------------------------------------------------------

    def __getitem__(self, key: K) -> V:
        try:
            return self._current.rows[key]  # type: ignore[no-any-return] # a cast would cost as much as the lookup
        except KeyError:
            raise KeyError(f"dataset {self.name!r} has no key {key!r}") from None

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the row, or ``default``. Before the first load it waits and raises as ``[]`` does."""
        return self._current.rows.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._current.rows

    def __len__(self) -> int:
        return len(self._current.rows)

    def __bool__(self) -> bool:
        return True  # a dataset is there even when it is empty or not loaded: `if dataset:` must not wait

    def __iter__(self) -> Iterator[K]:
        return iter(self._current.rows)

    def keys(self) -> KeysView[K]:
        return self._current.rows.keys()

    def values(self) -> ValuesView[V]:
        return self._current.rows.values()

    def items(self) -> ItemsView[K, V]:
        return self._current.rows.items()

    # A dataset is one live object, not a value: equal to itself only, and usable as a key.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def snapshot(self) -> Snapshot:
        """Return the version held now as an immutable mapping with ``version``, ``index`` and ``published_at``.

        Raises ``DatasetNotReady`` or ``DatasetStale``.
        """
        current = self._current
        return current if isinstance(current, Snapshot) else current.resolve()

    @property
    def index(self) -> Any:
        """What ``prepare()`` made of the version held now (``None`` without one)."""
        return self.snapshot().index

    # --- waiting -----------------------------------------------------------------------------------------------------

    def _first_read(self) -> Snapshot:
        """Be the gate before the first load: wait once, boundedly; later fail at once."""
        host().ensure_reader()
        if not self._answered() and _in_event_loop():
            raise DatasetNotReady(f"{self._why_not_ready()}; in async code, 'await dataset.aready()' first")
        if not self._answered() and not self._waited_in_vain and host().reader_refusal() is None:
            host().wake_reader()
            with self._changed:
                wait_for(self._changed, self._answered, self.first_read_timeout)
            self._waited_in_vain = not self._answered()
        return self._answer()

    def _answered(self) -> bool:
        """Tell whether there are rows, be they too old to be read."""
        return self._loaded is not None or self._override is not None

    def _answer(self) -> Snapshot:
        """Return what may be read now. Raises ``DatasetNotReady`` or ``DatasetStale``; never waits."""
        current = self._current
        if isinstance(current, Snapshot):
            return current
        if self._answered():
            return current.resolve()  # loaded and too old: says so
        raise DatasetNotReady(self._why_not_ready())

    def _why_not_ready(self) -> str:
        reason = host().reader_refusal() or self._health.error or "the reader has not answered yet"
        return f"dataset {self.name!r} is not loaded in this process: {reason}"

    def _begin_waiting(self, timeout: float | None) -> tuple[float, Callable[[], bool]]:
        """Set the reader going; return how many seconds to wait for it, none where there is no reader, and for what."""
        host().ensure_reader()
        if not self._readable():
            host().wake_reader()
        limit = self.first_read_timeout if timeout is None else timeout
        if host().reader_refusal() is not None:
            limit = 0.0
        return limit, self._answered if timeout is None else self._readable

    def _readable(self) -> bool:
        return isinstance(self._current, Snapshot)

    def wait_ready(self, timeout: float | None = None) -> Snapshot:
        """Wait until a version is held that may be read, and return it.

        ``timeout`` is in seconds; ``None`` means ``first_read_timeout``, and that rows beyond ``max_stale`` are not
        waited for: they raise ``DatasetStale`` at once, otherwise at the end. Raises ``DatasetNotReady`` with the
        reason.
        """
        limit, there = self._begin_waiting(timeout)
        with self._changed:
            wait_for(self._changed, there, limit)
        return self._answer()

    def wait_version(self, at_least: int, *, timeout: float) -> Snapshot:
        """Wait until a version with this number or a greater one is held and return it.

        ``timeout`` is in seconds. Raises ``DeadlineExceeded``, or ``DatasetNotReady`` at once when no reader runs that
        could load it.
        """
        host().ensure_reader()
        host().wake_reader()

        def there() -> bool:
            return self._loaded is not None and self._loaded.version >= at_least

        refusal = host().reader_refusal()
        with self._changed:
            wait_for(self._changed, there, timeout if refusal is None else 0.0)
        loaded = self._loaded
        if loaded is not None and loaded.version >= at_least:
            return loaded
        held = "none" if loaded is None else str(loaded.version)
        if refusal is not None:
            raise DatasetNotReady(
                f"dataset {self.name!r}: version {at_least} cannot arrive in this process; held: {held} ({refusal})"
            )
        reason = f" ({self._health.error})" if self._health.error else ""
        raise DeadlineExceeded(
            f"dataset {self.name!r}: version {at_least} did not arrive within {timeout:g} s; held: {held}{reason}"
        )

    async def aready(self, timeout: float | None = None) -> Snapshot:
        """Do what :meth:`wait_ready` does without blocking the event loop or a thread."""
        limit, there = self._begin_waiting(timeout)
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        with self._changed:
            self._wakers.add(wake)
        try:
            async with asyncio.timeout(limit):
                while not there():
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            pass  # what follows says why
        finally:
            with self._changed:
                self._wakers.discard(wake)
        return self._answer()

    # --- for the reader ----------------------------------------------------------------------------------------------

    @property
    def guard(self) -> threading.Condition:
        """Held while what follows changes something; hold it to make several changes one."""
        return self._changed

    def followed(self, *, died: Callable[[], bool]) -> None:
        """Tell who follows this dataset from now on: ``died`` says whether it ended although nobody stopped it."""
        with self._changed:
            self._reader_died = died

    def install(self, snapshot: Snapshot | None, *, refusal: str | None = None) -> Snapshot | None:
        """Serve ``snapshot`` from now on (``None``: nothing is loaded) and return what was loaded before.

        With a ``refusal`` it is held, but not served: see :meth:`refuse`.
        """
        with self._changed:
            before, self._loaded = self._loaded, snapshot
            self._refusal = refusal
            self._show()
        return before

    def _show(self) -> None:
        """Let reads see what is there now, and wake all who wait; called with the lock held."""
        if self._override is not None:
            self._current = self._override
        elif self._loaded is None:
            self._current = Gate(self._first_read)
        else:
            self._current = self._loaded if self._refusal is None else self._too_old(self._refusal)
        self._changed.notify_all()
        for wake in tuple(self._wakers):
            with suppress(RuntimeError):  # its event loop was closed while it waited
                wake()

    def _too_old(self, reason: str) -> Gate:
        def stale() -> Snapshot:
            raise DatasetStale(f"dataset {self.name!r} is too old to be used: {reason}")

        return Gate(stale)

    def forget(self) -> None:
        """Be as if nothing had been loaded yet. For tests."""
        self._waited_in_vain = False
        self._health = Health(since=time.time())
        self.install(None)

    def override(self, snapshot: Snapshot | None) -> None:
        """Serve ``snapshot`` whatever the reader loads; ``None`` ends that. For tests."""
        with self._changed:
            self._override = snapshot
            self._show()

    @property
    def overridden(self) -> Snapshot | None:
        """What :meth:`override` put in place, if anything."""
        return self._override

    def refuse(self, reason: str) -> None:
        """Raise ``DatasetStale`` on every read until :meth:`serve_again` or the next :meth:`install`."""
        with self._changed:
            self._refusal = reason
            self._show()

    def serve_again(self) -> None:
        """Undo :meth:`refuse`."""
        with self._changed:
            if self._refusal is not None:
                self._refusal = None
                self._show()

    def report(self, **changes: Any) -> None:
        """Change what :meth:`status` tells; ``since`` follows from a change of ``state``."""
        with self._changed:
            before = self._health
            after = replace(before, **changes)
            if after.state is not before.state:
                after = replace(after, since=time.time())
            self._health = after

    def status(self) -> DatasetStatus:
        """Tell how this process stands to the dataset. Never waits, never touches a store.

        It finds out when the reader has died, says so, and has it started again.
        """
        if self._reader_died():
            self._miss_reader()
        health, loaded = self._health, self._loaded
        announcement = loaded.announcement if loaded else None
        read_at = health.source_read_at
        return DatasetStatus(
            name=self.name,
            state=health.state,
            since=health.since,
            required=self.required,
            version=announcement.version if announcement else None,
            rows=len(loaded.rows) if loaded else 0,
            bytes=announcement.stored_bytes if announcement else 0,
            published_at=announcement.published_at if announcement else None,
            age=None if read_at is None else max(0.0, time.time() - read_at),
            lag=health.lag,
            error=health.error,
            error_at=health.error_at,
            failures=health.failures,
        )

    def _miss_reader(self) -> None:
        with self._changed:
            if self._reader_died():  # still: another thread may have been here
                state = self._health.state
                self.report(
                    state=State.INTERRUPTED if state is State.VALID else state,
                    error="the reader of this process ended unexpectedly and is started again",
                    error_at=time.time(),
                )
        host().ensure_reader()


def _never() -> bool:
    return False


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
