"""The reading side of a dataset: plain in-memory access, and the waiting before the first version has arrived.

The hot path is one attribute of one object: ``self._live_state.reads``, which always can be used (:mod:`.live_state`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, ValuesView
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.field_index import FieldIndex
from django_etcdaero.datasets.host import host
from django_etcdaero.datasets.registry import registered
from django_etcdaero.datasets.snapshot import Rows, Snapshot
from django_etcdaero.datasets.state.status import DatasetStatus, State
from django_etcdaero.exceptions import DatasetNotReady, DeadlineExceeded, EtcdAeroError, InvalidRequest
from django_etcdaero.system.acting import acts
from django_etcdaero.system.clocks import elapsed
from django_etcdaero.system.durations import check_seconds
from django_etcdaero.system.threads import in_event_loop

from .live_state import LiveState, Work

K = TypeVar("K")
V = TypeVar("V")
Index = TypeVar("Index")

if TYPE_CHECKING:
    from typing import Protocol

    Index_co = TypeVar("Index_co", covariant=True)

    class _Indexed(Protocol[Index_co]):
        """A dataset as the methods see it whose result has the index: its type is what ``prepare()`` returns."""

        name: str
        _live_state: LiveState

        def prepare(self, rows: Any, /) -> Index_co: ...
        def _begin_waiting(self, timeout: float | None, /) -> tuple[Callable[[], bool], float]: ...
        def _answer(self) -> Snapshot[Any, Any, Any]: ...
        def _wake_reader(self) -> None: ...
        def _trouble(self) -> str | None: ...


class LiveDataset(Declared[K, V], Rows[K, V]):
    """A dataset as a mapping that always shows the newest version this process holds."""

    def __init__(self) -> None:
        self._live_state = LiveState(self.name, self._first_read)

    # --- reading -----------------------------------------------------------------------------------------------------

    def __getitem__(self, key: K) -> V:
        try:
            return self._live_state.reads[key]  # type: ignore[no-any-return] # a cast would cost as much as the lookup
        except KeyError:
            raise KeyError(f"dataset {self.name!r} has no key {key!r}") from None

    if not TYPE_CHECKING:

        def get(self, key: Any, default: Any = None) -> Any:
            """Return the row, or ``default``. Before the first load it waits and raises as ``[]`` does."""
            return self._live_state.rows.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._live_state.rows

    def __len__(self) -> int:
        return len(self._live_state.rows)

    def __bool__(self) -> bool:
        return True  # a dataset is there even when it is empty or not loaded: `if dataset:` must not wait

    def __iter__(self) -> Iterator[K]:
        return iter(self._live_state.rows)

    def keys(self) -> KeysView[K]:
        return self._live_state.rows.keys()  # type: ignore[no-any-return]

    def values(self) -> ValuesView[V]:
        return self._live_state.rows.values()  # type: ignore[no-any-return]

    def items(self) -> ItemsView[K, V]:
        return self._live_state.rows.items()  # type: ignore[no-any-return]

    # A dataset is one live object, not a value: equal to itself only, usable as a key, and pickled by its name.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __reduce__(self) -> Any:
        return registered, (self.name,)

    def snapshot(self: _Indexed[Index]) -> Snapshot[K, V, Index]:
        """Return the version held now as an immutable mapping with ``version``, ``index`` and ``published_at``.

        Raises ``DatasetNotReady`` or ``DatasetStale``.
        """
        current = self._live_state.current
        return current if isinstance(current, Snapshot) else current.resolve()

    @property
    def index(self: _Indexed[Index]) -> Index:
        """What ``prepare()`` made of the version held now (``None`` without one)."""
        current = self._live_state.current
        return (current if isinstance(current, Snapshot) else current.resolve()).index  # type: ignore[no-any-return]

    def _current(self) -> Snapshot[K, V]:
        current = self._live_state.current
        return current if isinstance(current, Snapshot) else current.resolve()

    def by(self, field: str) -> FieldIndex[V]:
        """Return the rows of the version held now by the values of a field that ``indexes`` names.

        ``dataset.by("category")["kitchen"]`` is a tuple of rows, empty where there are none. Raises ``KeyNotFound`` for
        a field without an index, ``DatasetNotReady`` and ``DatasetStale``.
        """
        return self._current().by(field)

    def get_many(self, keys: Iterable[K]) -> dict[K, V]:
        """Return the rows of those ``keys`` that exist, all of one version, in the order of ``keys``."""
        return self._current().get_many(keys)

    def sequence(self) -> tuple[V, ...]:
        """Return all rows of the version held now in order, to be counted, sliced and paged.

        It is made once for each version. Raises ``ConfigurationError`` when the dataset is not ``ordered``.
        """
        return self._current().sequence()

    # --- waiting -----------------------------------------------------------------------------------------------------

    def _first_read(self) -> Snapshot[Any, Any]:
        """Be what is read before the first load: wait once, boundedly; later fail at once."""
        host().ensure_reader()
        live = self._live_state
        if not live.answered and in_event_loop():
            raise DatasetNotReady(f"{self._why_not_ready()}; in async code, 'await dataset.aready()' first")
        may_come = host().reader_refusal() is None and not self._nobody_publishes()
        if not live.answered and not live.waited_in_vain and may_come:
            host().wake_reader(self)
            live.wait_for_first(self.first_read_timeout)
        return self._answer()

    def _answer(self) -> Snapshot[Any, Any]:
        """Return what may be read now. Raises ``DatasetNotReady`` or ``DatasetStale``; never waits."""
        current = self._live_state.current
        if isinstance(current, Snapshot):
            return current
        if self._live_state.answered:
            return current.resolve()  # loaded and too old: says so
        raise DatasetNotReady(self._why_not_ready())

    def _why_not_ready(self) -> str:
        reason = host().reader_refusal() or self._nobody_publishes() or self._trouble()
        reason = reason or "the reader has not answered yet"
        return f"dataset {self.name!r} is not loaded in this process: {reason}"

    def _nobody_publishes(self) -> str:
        """Say why no version will come: none is announced, and nobody else uses these stores; empty: one may."""
        if not host().memory_only:
            return ""  # and opens no store: that is for the reader to do
        try:
            stores = host().stores(self.using)
            kv, name = stores.kv, self.layout(stores.prefix).announcement.encode()
            # Of the engine, which is in memory: a client refuses to be asked like this in an event loop.
            if kv.engine.get(kv.keyspace.prefix + name) is None:
                return f"no version has been published yet; {stores.remedy}"
        except EtcdAeroError:
            pass  # the reader tells of that
        return ""

    def _begin_waiting(self, timeout: float | None) -> tuple[Callable[[], bool], float]:
        """Set the reader going; return what to wait for, and how many seconds: none where there is no reader."""
        limit = self.first_read_timeout if timeout is None else check_seconds("timeout", timeout)
        host().ensure_reader()
        live = self._live_state
        if not live.readable:
            host().wake_reader(self)
        if host().reader_refusal() is not None or (timeout is None and self._nobody_publishes()):
            limit = 0.0
        return (lambda: live.answered) if timeout is None else (lambda: live.readable), limit

    def _wake_reader(self) -> None:
        host().ensure_reader()
        host().wake_reader(self)

    def _trouble(self) -> str | None:
        """Say why the current version is not held, as far as is known."""
        stuck = self._live_state.stuck
        return self._live_state.health.error if stuck is None else _said(stuck)

    def wait_ready(self: _Indexed[Index], timeout: float | None = None) -> Snapshot[K, V, Index]:
        """Wait until a version is held that may be read, and return it.

        ``timeout`` is in seconds; ``None`` means ``first_read_timeout``, and that rows beyond ``max_stale`` are not
        waited for: they raise ``DatasetStale`` at once, otherwise at the end. Raises ``DatasetNotReady`` with the
        reason.
        """
        self._live_state.wait(*self._begin_waiting(timeout))
        return self._answer()

    @acts
    async def aready(self: _Indexed[Index], timeout: float | None = None) -> Snapshot[K, V, Index]:
        """Do what :meth:`wait_ready` does without blocking the event loop or a thread."""
        await self._live_state.await_(*self._begin_waiting(timeout))
        return self._answer()

    def wait_version(self: _Indexed[Index], at_least: int | None, *, timeout: float) -> Snapshot[K, V, Index]:
        """Wait until a version with this number or a greater one is held and return it.

        ``timeout`` is in seconds. Starts the reader of this process if need be. Raises ``DeadlineExceeded``, or
        ``DatasetNotReady`` at once where none may run that could load it; ``InvalidRequest`` for the ``None`` that a
        refresh has for a version when nothing has ever been published.
        """
        limit = check_seconds("timeout", timeout)
        if at_least is None:
            raise InvalidRequest(f"dataset {self.name!r}: there is no version to wait for: look at the refresh's error")
        self._wake_reader()
        live = self._live_state

        def there() -> bool:
            return live.loaded is not None and live.loaded.version >= at_least

        refusal = host().reader_refusal()
        live.wait(there, limit if refusal is None else 0.0)
        loaded = live.loaded
        if loaded is not None and loaded.version >= at_least:
            return loaded
        held = "none" if loaded is None else str(loaded.version)
        if refusal is not None:
            raise DatasetNotReady(
                f"dataset {self.name!r}: version {at_least} cannot arrive in this process; held: {held} ({refusal})"
            )
        trouble = self._trouble()
        reason = f" ({trouble})" if trouble else ""
        raise DeadlineExceeded(
            f"dataset {self.name!r}: version {at_least} did not arrive within {timeout:g} s; held: {held}{reason}"
        )

    # --- how things stand --------------------------------------------------------------------------------------------

    def status(self) -> DatasetStatus:
        """Tell how this process stands to the dataset. Never waits, never touches a store.

        It finds out when the reader has died, says so, and has it started again.
        """
        live = self._live_state
        if live.reader_died():
            live.report_dead_reader()
            host().ensure_reader()
        health, loaded, stuck, busy = live.health, live.loaded, live.stuck, live.work
        if stuck is not None:
            if health.state is State.VALID:
                health = replace(health, state=State.INTERRUPTED, since=stuck.since)
            said = _said(stuck)
            error = said if health.error is None or health.state is not State.STALE else f"{health.error}; {said}"
            health = replace(health, error=error, error_at=stuck.since)
        announcement = loaded.announcement if loaded else None
        age = live.age.age(now=time.time(), clock=elapsed())
        return DatasetStatus(
            name=self.name,
            state=health.state,
            since=health.since,
            required=self.required,
            version=announcement.version if announcement else None,
            rows=len(loaded) if loaded else 0,
            bytes=announcement.stored_bytes if announcement else 0,
            published_at=announcement.published_at if announcement else None,
            age=None if age is None else age.seconds,
            lag=health.lag,
            error=health.error,
            error_at=health.error_at,
            failures=health.failures,
            busy_with=None if busy is None else busy.what,
            busy_since=None if busy is None else busy.since,
        )


def _said(stuck: Work) -> str:
    since = datetime.fromtimestamp(stuck.since, UTC)
    return f"{stuck.what} is under way since {since:%Y-%m-%d %H:%M:%S} UTC"


def live_state(dataset: LiveDataset[Any, Any]) -> LiveState:
    """Return what this process holds of a dataset: for the reader, and for those who start, stop and test it."""
    return dataset._live_state
