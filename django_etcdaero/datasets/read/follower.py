"""Following one dataset: look at its announcement, load what it names, and swap.

What to do is decided by :mod:`.decision`; here it is carried out. Any error leaves the version in use where it is. An
announcement that could not be loaded is remembered and tried again later and later; a newer one is tried at once.
Missing or damaged parts are asked for by a repair request.

A look that fails is repeated later and later, up to the poll interval, and told once for each reason. Only a look that
nothing went wrong with ends that: while one store is away the other one may well give a newer version.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django_etcdaero.datasets.blocks.assembly import Assembled, assemble, free_rows, missing_blocks
from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.digests import MissingRecords
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.host import Host
from django_etcdaero.datasets.snapshot import Snapshot
from django_etcdaero.datasets.state.announcement import Announcement, Copy
from django_etcdaero.datasets.state.reading import read_state
from django_etcdaero.datasets.state.schedule import request_load
from django_etcdaero.datasets.state.status import State, same_reason
from django_etcdaero.datasets.state.stored_state import StoredState
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.exceptions import ClusterError, CorruptBlock, EtcdAeroError
from django_etcdaero.keyvalue.client.watch import Watch
from django_etcdaero.system.error_text import text_of

from . import decision
from .decision import Action, Load, Memory, ReadCopy, Seen, WaitUntil, WriteCopy
from .live import LiveDataset, live_state
from .standing import Standing

logger = logging.getLogger("django_etcdaero.datasets")

SPLAY_BYTES = 1 << 20
"""Fetches of more than this many bytes are spread out, so that all processes do not hit the store in one moment."""
MOST_DROPPED = 10_000
"""Rows that may be freed, and ..."""
MOST_ENTRIES = 200_000
"""... entries of a dictionary that may be dropped at once: each is some milliseconds in which no other thread runs."""


class Follower:
    """One dataset of one process. Used by the reader's thread only, except for :meth:`look_now`.

    ``wake`` is called (from any thread) when there is something to do; ``pause(seconds)`` sleeps and returns true when
    the reader is to stop, ``stopped()`` whether it was told to: from then on the dataset is left alone, because another
    reader may have it already. ``poll_interval`` is how often the announcement is read however healthy the watch looks,
    in seconds, with jitter; ``splay`` the longest random delay before a large fetch, in seconds.
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
        self._memory = Memory()
        self._standing = Standing(dataset)

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
        reached = False
        try:
            stores = self._host.stores(self.dataset.using)
            try:
                stored = self._read_state(stores)
            except EtcdAeroError as away:
                if self._follow_copy(stores, away):
                    raise
            else:
                reached = True
                self._follow_state(stored, stores)
        except BaseException as error:  # SystemExit and the like, raised by a project's code, must not end the reader
            if not self._stopped():
                self._fail(error, reached=reached)
        self._tell()

    # --- looking -----------------------------------------------------------------------------------------------------

    def _read_state(self, stores: Stores) -> StoredState:
        layout = self.dataset.layout(stores.prefix)
        if self._watch is None or self._watch.closed:
            if self._memory.failures:
                read_state(stores.kv, layout)  # who may not read is refused each watch, too

            def changed(item: object) -> None:
                self._look = True
                self._wake()

            self._watch = stores.kv.watch(layout.announcement, callback=changed)
        return read_state(stores.kv, layout)

    def _follow_state(self, stored: StoredState, stores: Stores) -> None:
        """Do what the coordination plane says, and see to the announcement copy."""
        if stored.checked is not None:
            self._standing.source_read_at = stored.checked.load_started
        current = stored.announced
        seen = Seen(reached=True, announced=current)
        action = self._decide(seen)
        if isinstance(action, Load):  # the publisher writes the copy itself at this moment, and all processes are busy
            self._load(action.version, stores, reached=True)
        elif isinstance(action, ReadCopy):
            self._standing.change(State.VALID)
            self._check_copy(seen, self._blocks(stores))
        elif current is None and self._live.loaded is None:
            self._standing.change(State.INITIALIZING, f"no version has been published yet; {stores.remedy}")
        elif current is None:
            self._standing.change(State.INTERRUPTED, "no version is announced any more; the next refresh publishes one")

    def _follow_copy(self, stores: Stores, away: EtcdAeroError) -> bool:
        """Do what the announcement copy says; return whether ``away``, why nothing else is known, is to be told.

        It is not while the version of the copy is not to be tried again yet, nor when the reader is to stop.
        """
        try:
            copy = self._blocks(stores).read_copy()
        except EtcdAeroError as too:
            both = f"{away}; the announcement copy cannot be read either: {too}"
            raise ClusterError(both, getattr(away, "errors", None)) from away
        action = self._decide(Seen(reached=False, copy=copy, copy_read=True))
        if isinstance(action, Load):
            return self._load(action.version, stores, reached=False)
        return not isinstance(action, WaitUntil)

    def _decide(self, seen: Seen) -> Action:
        self._memory = decision.remember(self._memory, seen)
        action = decision.decide(self._memory, seen, time.monotonic())
        if isinstance(action, WaitUntil):
            self.next_at = min(self.next_at, action.time)
        return action

    def _check_copy(self, seen: Seen, blocks: BlockStore) -> None:
        """Compare the announcement copy with what is announced and held; write it anew if it is older.

        When that cannot be done no load has failed, and nothing is late: the next poll is early enough.
        """
        text = None
        try:
            action = self._decide(replace(seen, copy=blocks.read_copy(), copy_read=True))
            if isinstance(action, WriteCopy):
                blocks.write_copy(action.version.announcement, action.version.mod_revision)
        except EtcdAeroError as error:
            text = text_of(error)
            self._standing.change(
                State.INTERRUPTED, f"the current version is held; the announcement copy could not be checked: {text}"
            )
            if not same_reason(text, self._standing.copy_error):
                logger.warning("dataset %s: the announcement copy could not be checked: %s", self.dataset.name, error)
        self._standing.copy_error = text

    def _blocks(self, stores: Stores) -> BlockStore:
        return BlockStore(stores.records, self.dataset.layout(stores.prefix))

    # --- loading -----------------------------------------------------------------------------------------------------

    def _load(self, version: Copy, stores: Stores, *, reached: bool) -> bool:
        """Bring a version into use; return false when the reader was told to stop meanwhile."""
        announcement = version.announcement
        try:
            assembled = self._fetch(announcement, self._blocks(stores))
            if assembled is None:
                return False
            index = self.dataset.prepare(assembled.view)
            snapshot = Snapshot(self.dataset.name, assembled.rows, index, announcement)
            before, self._assembled = self._assembled, assembled
            self._memory = decision.loaded(self._memory, version, reached=reached)
            standing = self._standing
            standing.source_read_at = max(standing.source_read_at or 0.0, announcement.load_started)
            standing.lag = max(0.0, time.time() - announcement.published_at)
            self._standing.change(State.VALID)
            with self._live.guard:
                if self._stopped():
                    return False
                old = self._tell(snapshot)
            self._host.listener.loaded(self.dataset, snapshot)
        except BaseException as error:
            self._memory = replace(self._memory, failed=announcement.id)
            if isinstance(error, CorruptBlock):
                self._ask_for_repair(announcement.id, stores)
            if isinstance(error, MissingRecords) and stores.missing:
                raise MissingRecords(f"{error}; {stores.missing}", error.missing) from error
            raise
        dropped = 0 if before is None else before.own_rows(assembled)
        del before, assembled, snapshot, index
        if old is not None and (dropped > MOST_DROPPED or len(old.rows) > MOST_ENTRIES):
            rows = old.rows
            del old
            free_rows(rows)
        return True

    def _fetch(self, announcement: Announcement, blocks: BlockStore) -> Assembled | None:
        """Return the announced version in memory, or ``None`` when the reader was told to stop meanwhile."""
        before = self._assembled
        if before is None:
            self._standing.error = f"version {announcement.version} is being loaded"
            self._tell()
        manifest = Manifest.load(blocks.fetch, bytes.fromhex(announcement.root))
        if before is not None and self._splay:
            wanted = len(missing_blocks(before, manifest)) / max(1, len(manifest.blocks)) * announcement.stored_bytes
            if wanted > SPLAY_BYTES and self._pause(random.uniform(0, self._splay)):
                return None
        return assemble(announcement, manifest, blocks.fetch, rows=self.dataset.rows, before=before)

    def _ask_for_repair(self, damaged: str, stores: Stores) -> None:
        now = time.monotonic()
        if not decision.asks_for_repair(self._memory, damaged, now):
            return
        try:
            stored = read_state(stores.kv, self.dataset.layout(stores.prefix))
            if stored.pending is None or not stored.pending.repair:
                request_load(self.dataset, stores, repair=True)
        except EtcdAeroError as error:  # asked for again with the next try; what is damaged is the news
            logger.debug("dataset %s: a repair could not be asked for: %s", self.dataset.name, error)
        else:
            self._memory = replace(self._memory, repair=(damaged, now))

    # --- telling -----------------------------------------------------------------------------------------------------

    def _fail(self, error: BaseException, *, reached: bool) -> None:
        text = text_of(error)
        self._memory, news = decision.failed(
            self._memory,
            text,
            reached=reached,
            now=time.monotonic(),
            longest=self._poll_interval,
            jitter=random.uniform(0.8, 1.2),
        )
        self.next_at = min(self.next_at, self._memory.retry_at)
        self._standing.change(State.INITIALIZING if self._live.loaded is None else State.INTERRUPTED, text)
        if news:
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
            now, too_old_at = time.time(), self._standing.too_old_at
            before = self._standing.tell(snapshot, failures=self._memory.failures, now=now)
            if now < too_old_at and self._live.loaded is not None:
                self.next_at = min(self.next_at, time.monotonic() + too_old_at - now)
            return before
