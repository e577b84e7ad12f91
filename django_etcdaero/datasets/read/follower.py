"""Following one dataset: do what its announcement asks for, load what it names, and swap.

What is announced is seen by :mod:`.announced`, what to do is decided by :mod:`.decision`; here it is carried out, in
steps. Any error leaves the version in use where it is. An announcement that could not be loaded is remembered and tried
again later and later; a newer one is tried at once. Missing or damaged parts are asked for by a repair request.

A step that fails is repeated later and later, up to the poll interval, and told once for each reason. Only a step that
nothing went wrong with ends that: while one store is away the other one may well give a newer version.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from django_etcdaero.datasets.blocks.assembly import Assembled
from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.digests import MissingRecords
from django_etcdaero.datasets.host import Host
from django_etcdaero.datasets.snapshot import Snapshot, make_snapshot, rows_of
from django_etcdaero.datasets.state.age import Load as AnnouncedLoad
from django_etcdaero.datasets.state.announcement import Announcement, Copy
from django_etcdaero.datasets.state.project import tell_of_other_project
from django_etcdaero.datasets.state.status import State, same_reason
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.exceptions import ClusterError, CorruptBlock, EtcdAeroError, PermissionDenied, Unauthenticated
from django_etcdaero.system.clocks import elapsed, monotonic
from django_etcdaero.system.error_text import text_of

from . import decision
from .announced import AnnouncementView, Name
from .busy import Busy
from .decision import Action, Load, Memory, ReadCopy, Seen, WaitUntil, WriteCopy
from .fetching import Fetching
from .freeing import Leftovers, taken_out
from .live import LiveDataset, live_state
from .live_state import Held
from .repairing import ask_for_repair
from .standing import Standing

if TYPE_CHECKING:
    from django_etcdaero.datasets.mapped.versions import MappedVersion

logger = logging.getLogger("django_etcdaero.datasets")

LOOK_AHEAD = 2.0
"""Seconds before the moment in which rows become too old at which it is looked whether they have to."""


class Follower:
    """One dataset of one process. One step is made at a time, in whatever thread; all else may be used by any.

    ``view`` is what is announced under the dataset's alias. ``stopped()`` says whether the reader was told to stop:
    from then on the dataset is left alone, because another reader may have it already. ``poll_interval`` is the longest
    time until a failure is tried again, and ``copy_interval`` that between two looks at the announcement copy, in
    seconds, with jitter; ``splay`` the longest random delay before a large fetch that nobody waits for.
    """

    def __init__(
        self,
        dataset: LiveDataset[Any, Any],
        host: Host,
        view: AnnouncementView,
        *,
        stopped: Callable[[], bool],
        poll_interval: float,
        copy_interval: float,
        splay: float,
    ) -> None:
        self.dataset = dataset
        self.name: Name = (dataset.name, dataset.schema)
        self.view = view
        self.copy_interval = copy_interval
        self.next_at = math.inf
        """When the next step is due, on the monotonic clock."""
        self.wanted = False
        """Whether somebody waits for the dataset."""
        self.first_bytes = 0
        """Stored bytes of all datasets that this process still has to load for the first time."""
        self.busy = Busy(dataset)
        self._host = host
        self._live = live_state(dataset)
        self._stopped = stopped
        self._poll_interval = poll_interval
        self._fetching = Fetching(dataset.rows, dataset.row_type, splay=splay)
        self._origin = ""
        """Where the version held is from, if it is from no store."""
        self._look = False
        self._assembled: Assembled | MappedVersion | None = None
        self._memory = Memory()
        self._copy_at = 0.0
        """When the announcement copy is to be looked at, on the monotonic clock."""
        self._copy_look = -1
        """Looks that the view had made when the copy was read last."""
        self._standing = Standing(dataset)
        self._leftovers = Leftovers()
        view.ages[self.name] = self._live.age
        left, loaded = self._live.held, self._live.loaded
        if left is not None and loaded is not None and loaded.announcement and left.id == loaded.announcement.id:
            # Of the reader before this one, or of that of the process from which this one was forked.
            self._assembled, self._memory = left.assembled, Memory(held=left.id, order=left.order)
            self._leftovers.add([], left.assembled.rows)

    def due(self, now: float) -> bool:
        """Tell whether a step is due at ``now`` (monotonic clock); none is before the first look at the alias."""
        return (self._look or now >= self.next_at) and bool(self.view.looks or self.view.away)

    def look_now(self, *, wanted: bool = False) -> None:
        """Make the next step due at once; ``wanted``: because somebody waits for the dataset."""
        self.wanted = self.wanted or (wanted and not self._live.readable)
        self._look = True

    @property
    def missing_bytes(self) -> int:
        """Stored bytes of the announced version if it would be the first one."""
        announced = None if self._assembled is not None else self.view.announced(self.name)
        return 0 if announced is None else announced.announcement.stored_bytes

    @property
    def behind(self) -> bool:
        """Whether something is announced that the process does not hold."""
        announced, loaded = self.view.announced(self.name), self._live.loaded
        held = None if loaded is None or loaded.announcement is None else loaded.announcement.id
        return announced is not None and announced.announcement.id != held

    @property
    def as_announced(self) -> bool:
        """Whether the process holds what is announced, and nothing is wrong."""
        announced = self.view.announced(self.name)
        return announced is not None and not self.behind and self.dataset.status().state is State.VALID

    def step(self) -> None:
        """Do what the announcement asks for. Never raises."""
        self._look = False
        self.next_at = math.inf
        reached = False
        try:
            stores = self._host.stores(self.dataset.using)
            self._see_to_shared(stores)
            away = self.view.away
            if away is None:
                reached = True
                self._follow_state(stores)
            elif self._follow_copy(stores, away):
                raise away.with_traceback(None)
        except BaseException as error:  # SystemExit and the like, raised by a project's code, must not end the reader
            if not self._stopped():
                self._fail(error, reached=reached)
        self._tell()
        self._tend_shared()
        self.next_at = min(self.next_at, self._leftovers.tend())

    # --- what time does ----------------------------------------------------------------------------------------------

    @property
    def too_old_at(self) -> float:
        """When rows that are read become too old, on the monotonic clock; infinity: never, as far as is known."""
        return monotonic() + self._standing.too_old_in if self._live.readable else math.inf

    @property
    def look_ahead(self) -> float:
        """How many seconds before that moment it is looked whether the source was read meanwhile."""
        max_stale = self.dataset.max_stale
        return 0.0 if max_stale is None else min(LOOK_AHEAD, max_stale.total_seconds() / 10)

    def grow_old(self) -> None:
        """Let nobody read the rows any more if they are too old, whatever a step is busy with."""
        self._tell()

    # --- looking -----------------------------------------------------------------------------------------------------

    def _follow_state(self, stores: Stores) -> None:
        """Do what the coordination plane says, and see to the announcement copy."""
        looks, current = self.view.looks, self.view.announced(self.name)
        seen = Seen(reached=True, announced=current, fresh=looks > self._copy_look)
        action = self._decide(seen)
        if isinstance(action, Load):  # the publisher writes the copy itself at this moment, and all processes are busy
            self._look_at_copy_later()
            if self._load(action.version, stores, reached=True):
                self.next_at = min(self.next_at, self._copy_at)
        elif isinstance(action, ReadCopy):
            if self._standing.copy_error is None:
                self._standing.change(State.VALID)
            if monotonic() >= self._copy_at:
                self._look_at_copy_later()
                self._copy_look = looks
                self._standing.change(State.VALID)
                self._check_copy(seen, self._blocks(stores))
            self.next_at = min(self.next_at, self._copy_at)
        elif current is None and self._live.loaded is None:
            self._standing.change(State.INITIALIZING, f"no version has been published yet; {stores.remedy}")
        elif current is None:
            self._standing.change(State.INTERRUPTED, "no version is announced any more; the next refresh publishes one")

    def _look_at_copy_later(self) -> None:
        self._copy_at = monotonic() + self.copy_interval * random.uniform(0.85, 1.15)

    def _follow_copy(self, stores: Stores, away: BaseException) -> bool:
        """Do what the announcement copy says; return whether ``away``, why nothing else is known, is to be told.

        It is not while the version of the copy is not to be tried again yet, nor when the reader is to stop.
        """
        self._copy_look, self._copy_at = self.view.looks, 0.0
        try:
            copy = self._blocks(stores).read_copy()
        except EtcdAeroError as too:
            self._start_from_file(stores, away)
            text = f"{away}; the announcement copy cannot be read either: {too}{self._origin}"
            if isinstance(away, PermissionDenied | Unauthenticated):  # no server is to be looked for then
                raise type(away)(f"{away}{self._origin}" if str(away) == str(too) else text) from away
            raise ClusterError(text, getattr(away, "errors", None)) from away
        action = self._decide(Seen(reached=False, copy=copy, copy_read=True))
        if isinstance(action, Load):
            return self._load(action.version, stores, reached=False)
        return not isinstance(action, WaitUntil)

    def _decide(self, seen: Seen) -> Action:
        self._memory = decision.remember(self._memory, seen)
        action = decision.decide(self._memory, seen, monotonic())
        if isinstance(action, WaitUntil):
            self.next_at = min(self.next_at, action.time)
        return action

    def _check_copy(self, seen: Seen, blocks: BlockStore) -> None:
        """Compare the announcement copy with what is announced and held; write it anew if it is older.

        When that cannot be done no load has failed, and nothing is late: the next poll is early enough.
        """
        text = None
        try:
            copy = blocks.read_copy()
            action = self._decide(replace(seen, copy=copy, copy_read=True))
            if copy is not None and copy.order > max(self._memory.order, self._memory.overruled):
                with suppress(EtcdAeroError):  # the next look tells why
                    self.view.look_at(self.dataset)  # for the announcement that it is a copy of
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

    def _load(self, version: Copy, stores: Stores, *, reached: bool, mapped: MappedVersion | None = None) -> bool:
        """Bring a version into use; return false when that is put off, or the reader was told to stop meanwhile.

        ``mapped``: it is mapped already, because the stores are away.
        """
        announcement, label = version.announcement, f"version {version.announcement.version}"
        assembled: Assembled | MappedVersion | None = mapped
        self._leftovers.free()  # of versions there are two in memory, and not three
        tell_of_other_project(self.dataset, stores, announcement)
        try:
            with self.busy.doing(f"fetching {label}"):
                assembled = assembled or self._fetch(announcement, self._blocks(stores))
            if assembled is None:
                return False
            with self.busy.doing(f"prepare() of {label}"):
                snapshot = self._snapshot(assembled, announcement)
            memory = decision.loaded(self._memory, version, reached=reached)
            standing = self._standing
            with self._live.guard:
                if self._stopped():
                    return False
                before, self._assembled = self._assembled, assembled
                self._memory = memory
                self.wanted = False
                self._live.age.announced(AnnouncedLoad.of_announcement(announcement), answered=elapsed())
                standing.lag = max(0.0, time.time() - announcement.published_at)
                standing.change(*((State.VALID,) if mapped is None else (State.INTERRUPTED, standing.error)))
                self._origin = "" if mapped is None else f"; {label} is that of a file of this host"
                self._live.held = Held(announcement.id, memory.order, assembled)
                old = self._tell(snapshot)
        except BaseException as error:
            self._memory = replace(self._memory, failed=announcement.id)
            if isinstance(error, CorruptBlock) and (assembled is None or assembled.damaged is None):
                self._ask_for_repair(announcement.id, stores)
            if isinstance(error, MissingRecords) and stores.missing:
                raise MissingRecords(f"{error}; {stores.missing}", error.missing) from error
            raise
        self._tell_listener(snapshot)
        to_free, rows = taken_out(old, before, assembled), assembled.rows
        del before, old, assembled, snapshot
        self._leftovers.add(to_free, rows)
        if self._fetching.shared is not None:
            self._fetching.shared.taken_into_use(version, self._mapped, certain=reached)
        return True

    def _see_to_shared(self, stores: Stores) -> None:
        """Let versions be mapped, if the dataset is shared; take no notice of one any more whose file is damaged."""
        self._fetching.share(self.dataset, stores, damaged=partial(self._host.wake_reader, self.dataset))
        if self._assembled is not None and self._assembled.damaged is not None:
            self._standing.change(State.INTERRUPTED, self._assembled.damaged)
            self._memory = replace(self._memory, held=None)

    @property
    def _mapped(self) -> MappedVersion | None:
        """The version held, if it is mapped."""
        return None if isinstance(self._assembled, Assembled) else self._assembled

    def _tend_shared(self) -> None:
        """Go on with what is made for versions to come."""
        if self._fetching.shared is not None and not self._stopped():
            self.next_at = min(self.next_at, self._fetching.shared.tend(self._mapped))

    def _start_from_file(self, stores: Stores, away: BaseException) -> None:
        """Serve what a process of this host has mapped last, if nothing can be known and nothing is held."""
        found = None
        if self._fetching.shared is not None and self._live.loaded is None:
            found = self._fetching.shared.newest()
        if found is not None:
            version, mapped = found
            self._standing.error = f"version {version.announcement.version} is that of a file of this host: {away}"
            self._load(version, stores, reached=False, mapped=mapped)

    def _snapshot(self, assembled: Assembled | MappedVersion, announcement: Announcement) -> Snapshot[Any, Any]:
        loaded, before = self._live.loaded, self._assembled
        difference = assembled.difference if isinstance(assembled, Assembled) else None
        if loaded is None or before is None or rows_of(loaded) is not before.rows:
            loaded = difference = None
        rows: Mapping[Any, Any] = assembled.rows
        return make_snapshot(
            self.dataset, rows, announcement, ordered=assembled.ordered, before=loaded, difference=difference
        )

    def _tell_listener(self, snapshot: Snapshot[Any, Any]) -> None:
        try:
            with self.busy.doing(f"receivers of dataset_loaded of version {snapshot.version}"):
                self._host.listener.loaded(self.dataset, snapshot)
        except BaseException:  # the version is in use whatever a receiver raises
            logger.exception("dataset %s: a receiver of dataset_loaded failed", self.dataset.name)

    def _fetch(self, announcement: Announcement, blocks: BlockStore) -> Assembled | MappedVersion | None:
        """Return the announced version in memory, or ``None`` when its fetch is put off."""
        if self._assembled is None:
            self._standing.error = f"version {announcement.version} is being loaded"
            self._tell()
        fetched = self._fetching.fetch(
            announcement, blocks, before=self._assembled, wanted=self.wanted, first_bytes=self.first_bytes
        )
        if not isinstance(fetched, float):
            return fetched
        self.next_at = min(self.next_at, fetched)
        return None

    def _ask_for_repair(self, damaged: str, stores: Stores) -> None:
        now = monotonic()
        if decision.asks_for_repair(self._memory, damaged, now) and ask_for_repair(self.dataset, stores):
            self._memory = replace(self._memory, repair=(damaged, now))

    # --- telling -----------------------------------------------------------------------------------------------------

    def _fail(self, error: BaseException, *, reached: bool) -> None:
        text = text_of(error)
        self._memory, news = decision.failed(
            self._memory,
            text,
            reached=reached,
            now=monotonic(),
            longest=self._poll_interval,
            jitter=random.uniform(0.8, 1.2),
        )
        if reached:  # otherwise the next look at the coordination plane is the next try
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
            return self._standing.tell(snapshot, failures=self._memory.failures)
