"""Following one dataset: look at its announcement, load what it names, and swap.

What is loaded is whatever ``current`` says, newer or older; only when the coordination plane is away is the copy in the
record store followed instead, and then only forward. Any error leaves the version in use where it is. An announcement
that could not be loaded is remembered and tried again later and later; a newer one is tried at once. Missing or damaged
parts are asked for by a repair request.

A look that fails is repeated later and later, up to the poll interval, and told once for each reason. Only a look that
nothing went wrong with ends that: while one store is away the other one may well give a newer version.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django_etcdaero.datasets.blocks.assembly import Assembled, assemble, missing_blocks
from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.snapshot import Snapshot
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.reasons import same_reason, text_of
from django_etcdaero.datasets.state.requests import request_load
from django_etcdaero.datasets.state.schedule import read_line
from django_etcdaero.datasets.state.status import State
from django_etcdaero.exceptions import ClusterError, CorruptBlock, EtcdAeroError

from .freeing import free_rows
from .live import live_state

if TYPE_CHECKING:
    from django_etcdaero.datasets.host import Host
    from django_etcdaero.datasets.stores import Stores
    from django_etcdaero.keyvalue.client.watch import Watch

    from .live import LiveDataset

logger = logging.getLogger("django_etcdaero.datasets")

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


class Follower:
    """One dataset of one process. Used by the reader's thread only, except for :meth:`look_now`.

    ``wake`` is called (from any thread) when there is something to do; ``pause(seconds)`` sleeps and returns true when
    the reader is to stop, ``stopped()`` whether it was told to: from then on the dataset is left alone, because another
    reader may have it already. ``poll_interval`` is how often ``current`` is read however healthy the watch looks, in
    seconds, with jitter; ``splay`` the longest random delay before a large fetch, in seconds.
    """

    def __init__(
        self,
        dataset: LiveDataset[Any, Any],
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
        self._live = live_state(dataset)
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
        self._announced = False
        """Whether this step has read the announcement: what fails then is not the coordination plane."""
        self._told: tuple[bool, str] | None = None
        """``_announced`` and the error of the failure before this one; ``None`` after a success."""
        self._copy_told: str | None = None
        """Why the announcement copy could not be checked the last time."""
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
        self._announced = False
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
                failures, told = self._failures, self._told
                if not self._follow(copy.announcement, copy.order, blocks, stores):
                    return
                self._failures, self._told = failures, told  # what the copy gave does not end this trouble
            raise away
        self._announced = True
        if line.checked is not None:
            self._source_read_at = line.checked.load_started
        if line.current is None:
            self._succeed()  # nothing to load, and the stores answer
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
        held = self._assembled and self._assembled.announcement  # only that: nobody else may hold the old rows
        if not self._follow(line.current, announced, blocks, stores):
            return
        if (self._assembled and self._assembled.announcement) is not held:
            return  # the publisher writes the copy itself at this moment, and all processes are busy
        self._check_copy(line.current, announced, blocks)

    def _check_copy(self, current: Announcement, announced: tuple[int, int], blocks: BlockStore) -> None:
        """Compare the announcement copy with ``current``, which is held; write it anew if it is older.

        When that cannot be done no load has failed, and nothing is late: the next poll is early enough.
        """
        try:
            copy = blocks.read_copy()
            if copy is None or copy.order < self._order:
                blocks.write_copy(current, announced[1])
            elif copy.order > announced:
                self._copy_seen = copy.order
        except EtcdAeroError as error:
            text = text_of(error)
            self._state = State.INTERRUPTED
            self._error = f"the current version is held; the announcement copy could not be checked: {text}"
            if not same_reason(text, self._copy_told):
                logger.warning("dataset %s: the announcement copy could not be checked: %s", self.dataset.name, error)
            self._copy_told = text
        else:
            self._copy_told = None

    def _start_watch(self, stores: Stores) -> None:
        if self._watch is None or self._watch.closed:
            if self._failures:
                read_line(stores.kv, self.dataset.layout(stores.prefix))  # who may not read is refused each watch, too

            def changed(item: object) -> None:
                self._look = True
                self._wake()

            self._watch = stores.kv.watch(self.dataset.layout(stores.prefix).current, callback=changed)

    def _follow(self, announcement: Announcement, order: tuple[int, int], blocks: BlockStore, stores: Stores) -> bool:
        """Hold what is announced; return false when it is not time yet to try again, or the reader is to stop."""
        if self._assembled is None or self._assembled.announcement.id != announcement.id:
            if announcement.id == self._failed_id and time.monotonic() < self._retry_at:
                self.next_at = min(self.next_at, self._retry_at)
                return False
            try:
                if not self._load(announcement, blocks):
                    return False
            except BaseException as error:
                self._failed_id = announcement.id
                if isinstance(error, CorruptBlock):
                    self._ask_for_repair(announcement, stores)
                raise
            self._order = order
        else:
            self._order = max(self._order, order)  # announced once more, later
        self._succeed()
        return True

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
        with self._live.guard:
            if self._stopped():
                return False
            old = self._tell(snapshot)
        self._host.listener.loaded(dataset, snapshot)
        dropped = 0 if before is None else before.own_rows(assembled)
        del before, assembled, snapshot
        if old is not None and (dropped > MOST_DROPPED or len(old.rows) > MOST_ENTRIES):
            rows = old.rows
            del old
            free_rows(rows)
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
        text = text_of(error)
        self._state = State.INTERRUPTED if self._held else State.INITIALIZING
        self._error = text
        told, self._told = self._told, (self._announced, text)
        if told is None or told[0] != self._announced or not same_reason(text, told[1]):  # once, not at every retry
            if not isinstance(error, Exception):
                error, cause = RuntimeError(f"a project's code raised {text}"), error
                error.__cause__ = cause
            self._host.listener.failed(self.dataset, error, "load")

    def _tell(self, snapshot: Snapshot[Any, Any] | None = None) -> Snapshot[Any, Any] | None:
        """Report how things stand, put ``snapshot`` into use and return the one before; once stopped, do nothing.

        At least once a step, whatever happened, so that ``since`` moves only when the state really changes.
        """
        with self._live.guard:
            if self._stopped():
                return None
            refusal = self._refusal()
            state, error = (self._state, self._error) if refusal is None else (State.STALE, refusal)
            changes = {} if error is None else {"error_at": time.time()}
            # Before the rows are there to be read, so that whoever has read them finds a status that says so.
            self._live.report(
                state=state,
                error=error,
                failures=self._failures,
                source_read_at=self._source_read_at,
                lag=self._lag,
                **changes,
            )
            if snapshot is not None:
                return self._live.install(snapshot, refusal=refusal)
            if refusal is None:
                self._live.serve_again()
            else:
                self._live.refuse(refusal)
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
