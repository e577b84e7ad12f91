"""The reading side of a dataset: plain in-memory access, and the waiting before the first version has arrived.

The hot path is one attribute of one object: ``self._current.rows``. Everything that is not "a version is loaded" is
told by putting a :class:`Gate` there instead of a snapshot, so that reading needs no check of its own.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

from ..exceptions import DatasetNotReady, DatasetStale, DeadlineExceeded
from ..threads import wait_for
from .binding import host
from .snapshot import Snapshot
from .status import DatasetStatus, State

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class GateRows:
    """Stands where the rows will be: each use of it first gets the snapshot, or raises why there is none."""

    __slots__ = ("_resolve",)

    def __init__(self, resolve: Callable[[], Snapshot]) -> None:
        self._resolve = resolve

    def __getitem__(self, key: Any) -> Any:
        return self._resolve().rows[key]

    def get(self, key: Any, default: Any = None) -> Any:
        return self._resolve().rows.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._resolve().rows

    def __len__(self) -> int:
        return len(self._resolve().rows)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._resolve().rows)

    def keys(self) -> KeysView[Any]:
        return self._resolve().rows.keys()

    def values(self) -> ValuesView[Any]:
        return self._resolve().rows.values()

    def items(self) -> ItemsView[Any, Any]:
        return self._resolve().rows.items()


class Gate:
    """Stands where the snapshot will be."""

    __slots__ = ("resolve", "rows")

    def __init__(self, resolve: Callable[[], Snapshot]) -> None:
        self.resolve = resolve
        self.rows = GateRows(resolve)


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


class LiveDataset(Mapping[K, V]):
    """A dataset as a mapping that always shows the newest version this process holds."""

    name: str
    required: ClassVar[bool]
    first_read_timeout: float
    max_stale: timedelta | None

    def __init__(self) -> None:
        self._current: Snapshot | Gate = Gate(self._first_read)
        self._loaded: Snapshot | None = None
        self._override: Snapshot | None = None
        self._health = Health(since=time.time())
        self._reset_waiting()

    def _reset_waiting(self) -> None:
        self._changed = threading.Condition()
        self._waited_in_vain = False
        self._wakers: set[Callable[[], None]] = set()

    def after_fork_in_child(self) -> None:
        """Make the locks anew: another thread of the parent may have held them. The snapshot is served on."""
        self._reset_waiting()

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
        current = self._current
        if isinstance(current, Snapshot):
            return current
        if _in_event_loop():
            raise DatasetNotReady(f"{self._why_not_ready()}; in async code, 'await dataset.aready()' first")
        if not self._waited_in_vain and host().reader_refusal() is None:
            host().wake_reader()
            with self._changed:
                self._changed.wait_for(lambda: isinstance(self._current, Snapshot), self.first_read_timeout)
            current = self._current
            if isinstance(current, Snapshot):
                return current
            self._waited_in_vain = True
        raise DatasetNotReady(self._why_not_ready())

    def _why_not_ready(self) -> str:
        reason = host().reader_refusal() or self._health.error or "the reader has not answered yet"
        return f"dataset {self.name!r} is not loaded in this process: {reason}"

    def _patience(self, timeout: float | None) -> float:
        """Set the reader going; return how many seconds to wait for it: none where there is no reader."""
        host().ensure_reader()
        host().wake_reader()
        if host().reader_refusal() is not None:
            return 0.0
        return self.first_read_timeout if timeout is None else timeout

    def wait_ready(self, timeout: float | None = None) -> Snapshot:
        """Wait until a version is held and return it.

        ``timeout`` is in seconds; ``None`` means ``first_read_timeout``. Raises ``DatasetNotReady`` with the reason.
        """
        limit = self._patience(timeout)
        with self._changed:
            wait_for(self._changed, lambda: isinstance(self._current, Snapshot), limit)
        current = self._current
        if isinstance(current, Snapshot):
            return current
        if self._loaded is not None:
            return current.resolve()  # loaded and too old: says so
        raise DatasetNotReady(self._why_not_ready())

    def wait_version(self, at_least: int, *, timeout: float) -> Snapshot:
        """Wait until a version with this number or a greater one is held and return it.

        ``timeout`` is in seconds. Raises ``DeadlineExceeded``.
        """
        host().ensure_reader()
        host().wake_reader()

        def there() -> bool:
            return self._loaded is not None and self._loaded.version >= at_least

        with self._changed:
            wait_for(self._changed, there, timeout)
        loaded = self._loaded
        if loaded is None or loaded.version < at_least:
            held = "none" if loaded is None else str(loaded.version)
            reason = f" ({self._health.error})" if self._health.error else ""
            raise DeadlineExceeded(
                f"dataset {self.name!r}: version {at_least} did not arrive within {timeout:g} s; held: {held}{reason}"
            )
        return loaded

    async def aready(self, timeout: float | None = None) -> Snapshot:
        """Wait, without blocking the event loop or a thread, until a version is held and return it.

        ``timeout`` is in seconds; ``None`` means ``first_read_timeout``. Raises ``DatasetNotReady`` with the reason.
        """
        limit = self._patience(timeout)
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(arrived.set)

        with self._changed:
            self._wakers.add(wake)
        try:
            if not isinstance(self._current, Snapshot):
                await asyncio.wait_for(arrived.wait(), limit)
        except TimeoutError:
            pass  # what follows says why
        finally:
            with self._changed:
                self._wakers.discard(wake)
        current = self._current
        if isinstance(current, Snapshot):
            return current
        if self._loaded is not None:
            return current.resolve()
        raise DatasetNotReady(self._why_not_ready())

    # --- for the reader ----------------------------------------------------------------------------------------------

    def install(self, snapshot: Snapshot | None) -> Snapshot | None:
        """Serve ``snapshot`` from now on (``None``: nothing is loaded) and return what was loaded before."""
        with self._changed:
            before, self._loaded = self._loaded, snapshot
            self._show()
        return before

    def _show(self) -> None:
        """Let reads see what is there now, and wake all who wait; called with the lock held."""
        shown = self._loaded if self._override is None else self._override
        self._current = Gate(self._first_read) if shown is None else shown
        self._changed.notify_all()
        for wake in tuple(self._wakers):
            with suppress(RuntimeError):  # its event loop was closed while it waited
                wake()

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

        def stale() -> Snapshot:
            raise DatasetStale(f"dataset {self.name!r} is too old to be used: {reason}")

        with self._changed:
            if self._override is None:
                self._current = Gate(stale)

    def serve_again(self) -> None:
        """Undo :meth:`refuse`."""
        with self._changed:
            if self._current is not self._loaded:
                self._show()

    def report(self, **changes: Any) -> None:
        """Change what :meth:`status` tells; ``since`` follows from a change of ``state``."""
        before = self._health
        after = replace(before, **changes)
        if after.state is not before.state:
            after = replace(after, since=time.time())
        self._health = after

    def status(self) -> DatasetStatus:
        """Tell how this process stands to the dataset. Never waits, never touches a store."""
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


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
