"""What a process holds of a dataset: set by the reader (and by tests), read by whoever reads the dataset.

All changes are made under one lock, which is also what waiting is done on. Reading takes no lock: it takes
:attr:`LiveState.rows`, :attr:`LiveState.reads` or :attr:`LiveState.current`, which always can be used. While no version
may be read a :class:`Placeholder` stands there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from django_etcdaero.datasets.blocks.often_read import quickly_read
from django_etcdaero.datasets.snapshot import Snapshot, rows_of
from django_etcdaero.datasets.state.age import AgeMemory
from django_etcdaero.datasets.state.status import State
from django_etcdaero.exceptions import DatasetStale
from django_etcdaero.system.clocks import elapsed
from django_etcdaero.system.conditions import Condition
from django_etcdaero.system.threads import wait_for

if TYPE_CHECKING:
    from django_etcdaero.datasets.blocks.assembly import Assembled
    from django_etcdaero.datasets.mapped.versions import MappedVersion


STUCK_AFTER = 10.0
"""Seconds after which the status says what the reader is busy with, and is not VALID any more."""


class Placeholder:
    """Stands where a snapshot and its rows will be: each use first gets the snapshot, or raises why there is none."""

    __slots__ = ("resolve",)

    def __init__(self, resolve: Callable[[], Snapshot[Any, Any]]) -> None:
        self.resolve = resolve

    def __getitem__(self, key: Any) -> Any:
        return rows_of(self.resolve())[key]

    def __contains__(self, key: object) -> bool:
        return key in rows_of(self.resolve())

    def __len__(self) -> int:
        return len(rows_of(self.resolve()))

    def __iter__(self) -> Iterator[Any]:
        return iter(rows_of(self.resolve()))

    def __getattr__(self, name: str) -> Any:
        """Return a method of a dictionary, such as ``get``."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(rows_of(self.resolve()), name)


class Work(NamedTuple):
    """What a reader is doing for a dataset."""

    what: str
    since: float
    """Seconds since the epoch, to be shown."""
    began: float
    """The same moment on the clock of durations."""

    @classmethod
    def begin(cls, what: str) -> Self:
        """Return work that begins now."""
        return cls(what, time.time(), elapsed())


class Held(NamedTuple):
    """What a reader leaves to the next one of this process, or of its children."""

    id: str
    """Of the announcement that was loaded."""
    order: tuple[int, int]
    """Epoch and revision of that announcement."""
    assembled: Assembled | MappedVersion


@dataclass(frozen=True, slots=True)
class Health:
    """What the reader knows of a dataset; replaced as a whole."""

    state: State = State.INITIALIZING
    since: float = 0.0
    error: str | None = None
    error_at: float | None = None
    failures: int = 0
    lag: float | None = None


class LiveState:
    """The versions that a process holds of the dataset ``name``, and how it stands to them.

    ``first_read`` is called by each read as long as nothing is loaded: it returns a snapshot to read from, or raises.
    """

    __slots__ = (
        "_first_read",
        "_name",
        "_refusal",
        "age",
        "current",
        "first_wait",
        "guard",
        "health",
        "held",
        "loaded",
        "overridden",
        "reader_died",
        "reads",
        "rows",
        "waited_in_vain",
        "waits_for",
        "wakers",
        "work",
    )

    def __init__(self, name: str, first_read: Callable[[], Snapshot[Any, Any]]) -> None:
        self._name = name
        self._first_read = first_read
        self.current: Snapshot[Any, Any] | Placeholder = Placeholder(first_read)
        """What is read: a snapshot, or what says why there is none."""
        self.rows: Any = self.current
        """The rows of ``current``, here as well because they are read for every key."""
        self.reads: Any = self.current
        """What is asked by ``[key]``: ``rows``, or what finds them sooner."""
        self.loaded: Snapshot[Any, Any] | None = None
        """The version that the reader has loaded, be it served or not."""
        self.overridden: Snapshot[Any, Any] | None = None
        """What :meth:`override` put in place, if anything."""
        self._refusal: str | None = None
        self.age = AgeMemory(unlearns=False)
        """What is known of when the source was read."""
        self.held: Held | None = None
        """Of ``loaded``, if the ids are equal: in the child of a fork they may not be."""
        self.reader_died: Callable[[], bool] = _never
        """Whether the reader ended although nobody stopped it."""
        self.work: Work | None = None
        """What the reader does for this dataset just now."""
        self.waits_for: Callable[[], Work | None] = _nothing
        """What the reader does for all datasets of the alias just now."""
        self.health = Health(since=time.time())
        self._reset_waiting()

    def _reset_waiting(self) -> None:
        self.guard = Condition()
        """Held by each change; hold it to make several changes one."""
        self.first_wait: float | None = None
        """When a read first waited for that version, by the clock that does not jump; interrupted or not."""
        self.waited_in_vain = False
        """Whether a read has waited for the first version and nothing came: the next ones do not wait."""
        self.wakers: set[Callable[[], None]] = set()

    def after_fork_in_child(self) -> None:
        """Make the locks anew: another thread of the parent may have held them. The snapshot is served on."""
        self._reset_waiting()
        self.work, self.waits_for = None, _nothing
        self.reader_died = _never  # the parent's reader is not in this process
        with self.guard:
            self._show()  # the fork may have come between the change of what is loaded and this

    # --- changing what is read ---------------------------------------------------------------------------------------

    def install(self, snapshot: Snapshot[Any, Any] | None, *, refusal: str | None = None) -> Snapshot[Any, Any] | None:
        """Serve ``snapshot`` from now on (``None``: nothing is loaded) and return what was loaded before.

        With a ``refusal`` it is held, but not served: see :meth:`refuse`.
        """
        with self.guard:
            before, self.loaded = self.loaded, snapshot
            self._refusal = refusal
            self._show()
        return before

    def refuse(self, reason: str | None) -> None:
        """Raise ``DatasetStale`` on every read until the next :meth:`install`; ``None``: no more."""
        with self.guard:
            if reason != self._refusal:
                self._refusal = reason
                self._show()

    def override(self, snapshot: Snapshot[Any, Any] | None) -> None:
        """Serve ``snapshot`` whatever the reader loads; ``None`` ends that. For tests."""
        with self.guard:
            self.overridden = snapshot
            self._show()

    def forget(self) -> None:
        """Be as if nothing had been loaded yet. For tests."""
        self.first_wait, self.waited_in_vain = None, False
        self.health = Health(since=time.time())
        self.held, self.age = None, AgeMemory(unlearns=False)
        self.install(None)

    def _show(self) -> None:
        """Let reads see what is there now, and wake all who wait; called with the lock held."""
        shown: Snapshot[Any, Any] | Placeholder
        if self.overridden is not None:
            shown = self.overridden
        elif self.loaded is None:
            shown = Placeholder(self._first_read)
        else:
            shown = self.loaded if self._refusal is None else self._too_old(self._refusal)
        # First: whoever has seen a snapshot must find its rows, or newer ones.
        self.rows = rows_of(shown) if isinstance(shown, Snapshot) else shown
        self.reads = quickly_read(self.rows)
        self.current = shown
        self.guard.notify_all()
        for wake in tuple(self.wakers):
            with suppress(RuntimeError):  # its event loop was closed while it waited
                wake()

    def _too_old(self, reason: str) -> Placeholder:
        def stale() -> Snapshot[Any, Any]:
            raise DatasetStale(f"dataset {self._name!r} is too old to be used: {reason}")

        return Placeholder(stale)

    # --- how things stand --------------------------------------------------------------------------------------------

    @property
    def answered(self) -> bool:
        """Whether there are rows, be they too old to be read."""
        return self.loaded is not None or self.overridden is not None

    @property
    def readable(self) -> bool:
        """Whether there are rows that may be read."""
        return isinstance(self.current, Snapshot)

    def followed(self, *, died: Callable[[], bool], waits_for: Callable[[], Work | None] | None = None) -> None:
        """Tell who follows this dataset from now on.

        ``died`` says whether the reader ended although nobody stopped it, ``waits_for`` what it does for the alias.
        """
        with self.guard:
            self.reader_died, self.waits_for, self.work = died, waits_for or _nothing, None

    @property
    def stuck(self) -> Work | None:
        """What the reader has been doing for this dataset for longer than ``STUCK_AFTER``, if anything."""
        longest = min(filter(None, (self.work, self.waits_for())), key=lambda work: work.began, default=None)
        return longest if longest is not None and elapsed() - longest.began >= STUCK_AFTER else None

    def report(self, **changes: Any) -> None:
        """Change ``health``; ``since`` follows from a change of ``state``."""
        with self.guard:
            before = self.health
            after = replace(before, **changes)
            if after.state is not before.state:
                after = replace(after, since=time.time())
            self.health = after

    def report_dead_reader(self) -> None:
        """Say in ``health`` that the reader died, if it did."""
        with self.guard:
            if self.reader_died():  # still: another thread may have been here
                state = self.health.state
                self.report(
                    state=State.INTERRUPTED if state is State.VALID else state,
                    error="the reader of this process ended unexpectedly and is started again",
                    error_at=time.time(),
                )

    # --- waiting -----------------------------------------------------------------------------------------------------

    def wait(self, there: Callable[[], bool], timeout: float) -> None:
        """Wait until ``there()``, looked at after each change, at most ``timeout`` seconds."""
        with self.guard:
            wait_for(self.guard, there, timeout)

    def wait_for_first(self, timeout: float) -> None:
        """Wait until something is loaded, at most ``timeout`` seconds since a read first did, also if it was cut short.

        What comes too late is not waited for again.
        """
        if self.first_wait is None:
            self.first_wait = elapsed()
        self.wait(lambda: self.answered, max(0.0, self.first_wait + timeout - elapsed()))
        self.waited_in_vain = not self.answered

    async def await_(self, there: Callable[[], bool], timeout: float) -> None:
        """Do what :meth:`wait` does without blocking the event loop or a thread."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        with self.guard:
            self.wakers.add(wake)
        try:
            async with asyncio.timeout(timeout):
                while not there():
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            pass  # whoever waited looks at what is there
        finally:
            with self.guard:
                self.wakers.discard(wake)


def _never() -> bool:
    return False


def _nothing() -> Work | None:
    return None
