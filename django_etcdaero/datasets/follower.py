"""Following one dataset: look at its announcement, load what it names, and swap.

What is loaded is whatever ``current`` says, newer or older; only when the coordination plane is away is the copy in the
record store followed instead, and then only forward. Any error leaves the version in use where it is. An announcement
that could not be loaded is remembered and tried again later and later; a newer one is tried at once. Missing or damaged
parts are asked for by a repair request.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..exceptions import ClusterError, CorruptBlock, EtcdAeroError
from .announcement import Announcement
from .assembly import Assembled, assemble, missing_blocks
from .blockstore import BlockStore
from .manifest import Manifest
from .requests import request_load
from .schedule import read_line
from .snapshot import Snapshot
from .status import State

if TYPE_CHECKING:
    from ..kv.watch import Watch
    from .binding import Host, Stores
    from .definition import Dataset

SPLAY_BYTES = 1 << 20
"""Fetches of more than this many bytes are spread out, so that all processes do not hit the store in one moment."""
FIRST_RETRY = 0.5
"""Seconds before the first retry of what failed; doubled each time up to the poll interval."""
REPAIR_PAUSE = 300.0
"""Seconds until a reader asks again to repair a version: the source must not pay for what cannot be repaired."""
MOST_DROPPED = 10_000
"""Rows that may be freed, and ..."""
MOST_ENTRIES = 200_000
"""... entries of a dictionary that may be dropped at once: each is some milliseconds in which no other thread runs."""
SLICE = 500
"""Rows of an old version that are let go before other threads get a chance to run."""


class Follower:
    """One dataset of one process. Used by the reader's thread only, except for :meth:`look_now`.

    ``wake`` is called (from any thread) when there is something to do; ``pause(seconds)`` sleeps and returns true when
    the reader is to stop, ``stopped()`` whether it was told to: from then on the dataset is left alone, because another
    reader may have it already. ``poll_interval`` is how often ``current`` is read however healthy the watch looks, in
    seconds, with jitter; ``splay`` the longest random delay before a large fetch, in seconds.
    """

    def __init__(
        self,
        dataset: Dataset[Any, Any],
        host: Host,
        *,
        wake: Callable[[], None],
        pause: Callable[[float], bool],
        stopped: Callable[[], bool],
        poll_interval: float,
        splay: float,
    ) -> None:
        self.dataset = dataset
        self.next_at = 0.0
        """When the next step is due, on the monotonic clock."""
        self._host = host
        self._wake = wake
        self._pause = pause
        self._stopped = stopped
        self._poll_interval = poll_interval
        self._splay = splay
        self._look = True
        self._watch: Watch | None = None
        self._assembled: Assembled | None = None
        self._order = (0, 0)
        self._copy_seen = self._overruled = (0, 0)
        """Orders of copies: the last one that was newer than what is announced, and the last that turned out to belong
        to a life of the coordination store that is gone (which was restored from a backup)."""
        self._failed_id: str | None = None
        self._asked = ("", 0.0)
        self._retry_at = 0.0
        self._failures = 0
        self._told: str | None = None
        # What another reader of this process, or of the one it was forked from, has left behind.
        left = dataset.status()
        self._held = left.version is not None
        self._state = left.state
        self._error: str | None = None
        self._source_read_at = None if left.age is None else time.time() - left.age
        self._lag = left.lag

    def due(self, now: float) -> bool:
        """Tell whether a step is due at ``now`` (monotonic clock)."""
        return self._look or now >= self.next_at

    def look_now(self) -> None:
        """Make the next step due at once."""
        self._look = True

    def close(self) -> None:
        """End the watch."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def step(self) -> None:
        """Look at the announcement and do what it asks for. Never raises."""
        self._look = False
        self.next_at = time.monotonic() + self._poll_interval * random.uniform(0.85, 1.15)
        try:
            self._step()
        except BaseException as error:  # SystemExit and the like, raised by a project's code, must not end the reader
            if not self._stopped():
                self._fail(error)
        self._tell()

    def _step(self) -> None:
        stores = self._host.stores(self.dataset.using)
        layout = self.dataset.layout(stores.prefix)
        blocks = BlockStore(stores.records, layout)
        try:
            self._start_watch(stores)
            line = read_line(stores.kv, layout)
        except EtcdAeroError as away:
            try:
                copy = blocks.read_copy()
            except EtcdAeroError as too:
                both = f"{away}; the announcement copy cannot be read either: {too}"
                raise ClusterError(both, getattr(away, "errors", None)) from away
            if copy is not None and copy.order > max(self._order, self._overruled):
                self._follow(copy.announcement, copy.order, blocks, stores)
            raise away
        if line.checked is not None:
            self._source_read_at = line.checked.load_started
        if line.current is None:
            self._state = State.INTERRUPTED if self._held else State.INITIALIZING
            self._error = (
                "no version is announced any more; the next refresh publishes one"
                if self._held
                else f"no version has been published yet; {stores.remedy}"
            )
            return
        announced = (line.current.epoch, line.current_revision)
        if announced < self._copy_seen:  # a copy is written after its announcement, which is not there to be read
            self._overruled = self._copy_seen
        before = self._order
        self._follow(line.current, announced, blocks, stores)
        loaded = self._order != before
        if loaded:
            return  # the publisher writes the copy itself at this moment, and all processes are busy
        copy = blocks.read_copy()
        if copy is None or copy.order < self._order:
            blocks.write_copy(line.current, line.current_revision)
        elif copy.order > announced:
            self._copy_seen = copy.order

    def _start_watch(self, stores: Stores) -> None:
        if self._watch is None or self._watch.closed:

            def changed(item: object) -> None:
                self._look = True
                self._wake()

            self._watch = stores.kv.watch(self.dataset.layout(stores.prefix).current, callback=changed)

    def _follow(self, announcement: Announcement, order: tuple[int, int], blocks: BlockStore, stores: Stores) -> None:
        if self._assembled is None or self._assembled.announcement.id != announcement.id:
            if announcement.id == self._failed_id and time.monotonic() < self._retry_at:
                self.next_at = min(self.next_at, self._retry_at)
                return
            try:
                if not self._load(announcement, blocks):
                    return
            except BaseException as error:
                self._failed_id = announcement.id
                if isinstance(error, CorruptBlock):
                    self._ask_for_repair(announcement, stores)
                raise
            self._order = order
        self._succeed()

    def _succeed(self) -> None:
        self._failed_id = self._told = self._error = None
        self._failures = 0
        self._state = State.VALID

    def _load(self, announcement: Announcement, blocks: BlockStore) -> bool:
        """Bring the announced version into use; return false when the reader was told to stop meanwhile."""
        dataset, before = self.dataset, self._assembled
        if before is None:
            self._error = f"version {announcement.version} is being loaded"
            self._tell()
        manifest = Manifest.load(blocks.fetch, bytes.fromhex(announcement.root))
        if before is not None and self._splay:
            wanted = len(missing_blocks(before, manifest)) / max(1, len(manifest.blocks)) * announcement.stored_bytes
            if wanted > SPLAY_BYTES and self._pause(random.uniform(0, self._splay)):
                return False
        assembled = assemble(announcement, manifest, blocks.fetch, rows=dataset.rows, before=before)
        index = dataset.prepare(assembled.view)
        snapshot = Snapshot(dataset.name, assembled.rows, index, announcement)
        self._assembled = assembled
        self._source_read_at = max(self._source_read_at or 0.0, announcement.load_started)
        self._lag = max(0.0, time.time() - announcement.published_at)
        self._held = True
        self._succeed()
        with dataset.guard:
            if self._stopped():
                return False
            old = self._tell(snapshot)
        self._host.listener.loaded(dataset, snapshot)
        dropped = 0 if before is None else before.own_rows(assembled)
        del before, assembled, snapshot
        if old is not None and (dropped > MOST_DROPPED or len(old.rows) > MOST_ENTRIES):
            rows = old.rows
            del old
            let_go(rows)
        return True

    def _ask_for_repair(self, announcement: Announcement, stores: Stores) -> None:
        asked_id, asked_at = self._asked
        if asked_id == announcement.id and time.monotonic() < asked_at + REPAIR_PAUSE:
            return
        self._asked = (announcement.id, time.monotonic())
        line = read_line(stores.kv, self.dataset.layout(stores.prefix))
        if line.pending is None or not line.pending.repair:
            request_load(self.dataset, stores, repair=True)

    def _fail(self, error: BaseException) -> None:
        self._failures += 1
        delay = min(self._poll_interval, FIRST_RETRY * 2 ** min(self._failures - 1, 16)) * random.uniform(0.8, 1.2)
        self._retry_at = time.monotonic() + delay
        self.next_at = min(self.next_at, self._retry_at)
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        self._state = State.INTERRUPTED if self._held else State.INITIALIZING
        self._error = text
        if text != self._told:  # once, not at every retry
            self._told = text
            if not isinstance(error, Exception):
                error, cause = RuntimeError(f"a project's code raised {text}"), error
                error.__cause__ = cause
            self._host.listener.failed(self.dataset, error, "load")

    def _tell(self, snapshot: Snapshot | None = None) -> Snapshot | None:
        """Report how things stand, put ``snapshot`` into use and return the one before; once stopped, do nothing.

        At least once a step, whatever happened, so that ``since`` moves only when the state really changes.
        """
        dataset = self.dataset
        with dataset.guard:
            if self._stopped():
                return None
            refusal = self._refusal()
            state, error = (self._state, self._error) if refusal is None else (State.STALE, refusal)
            changes = {} if error is None else {"error_at": time.time()}
            # Before the rows are there to be read, so that whoever has read them finds a status that says so.
            dataset.report(
                state=state,
                error=error,
                failures=self._failures,
                source_read_at=self._source_read_at,
                lag=self._lag,
                **changes,
            )
            if snapshot is not None:
                return dataset.install(snapshot, refusal=refusal)
            if refusal is None:
                dataset.serve_again()
            else:
                dataset.refuse(refusal)
            return None

    def _refusal(self) -> str | None:
        """Return why the rows are too old to be read, if they are; else look again when they will be."""
        limit: timedelta | None = self.dataset.max_stale
        if limit is None or self._source_read_at is None or not self._held:
            return None
        left = self._source_read_at + limit.total_seconds() - time.time()
        if left > 0:
            self.next_at = min(self.next_at, time.monotonic() + left)
            return None
        reason = f"the source was last read {limit.total_seconds() - left:.0f} s ago, max_stale is {limit}"
        return f"{reason}; {self._error}" if self._error else reason


def _references(rows: dict[Any, Any]) -> int:
    return sys.getrefcount(rows)


def _references_of_one_holder() -> int:
    rows: dict[Any, Any] = {}
    return _references(rows)


_ALONE = _references_of_one_holder()
"""What ``getrefcount`` says in a function whose caller is the only holder; it differs between Python versions."""


def let_go(rows: dict[Any, Any]) -> None:
    """Empty a dictionary that nobody else uses, a slice at a time.

    Dropping a million rows at once would stop every other thread for as long as that takes (the interpreter frees them
    without a break). Nothing is done when somebody still holds the rows: then the last holder drops them.
    """
    if sys.getrefcount(rows) > _ALONE:
        return
    pop = rows.popitem
    try:
        while True:
            for _ in range(SLICE):
                pop()
    except KeyError:
        return
