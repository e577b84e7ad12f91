"""The thread that feeds all watches of an engine.

It follows the store's head with one read for all watches that are up to date, and brings each watch that starts in the
past forward by itself, piece by piece, until it is up to date as well. Commits of this process wake it; commits of
other processes are found by looking at the head of the file, every 20 ms when nothing happens and more often right
after something did: what processes do in turns, such as handing a lock over, does not wait for the interval each time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue.values import WatchBatch, WatchLost
from django_etcdaero.system.conditions import Flag
from django_etcdaero.system.sqlite.path import same_file
from django_etcdaero.system.threads import Background

from .changes import Change, Slice, read_slice
from .connection import GuardedConnection
from .watching import EmbeddedWatch

_log = logging.getLogger("django_etcdaero.kv")

POLL_INTERVAL = 0.02
"""Seconds between two looks at a quiet file that other processes may have written."""

_SHORTEST_POLL = 0.002
"""Seconds between two looks right after a change, or after a watch was added."""

_STIRRED_SHARE = 0.1
"""What part of the time since then the next look waits for: a change is found late by as much, at most."""

PROGRESS_INTERVAL = 600.0
"""Seconds between two progress marks to quiet watches that asked for them (etcd's default)."""

_LEASE_POLL = 0.1
"""Seconds at most between two looks at the clock while there are leases."""

_RETRY = 0.2
"""Seconds to wait after the store could not be read, or while each look has to open the file (a full disk)."""

_TICK = 0.25
"""Seconds: longer than a tick of the clock of a file system on which databases are kept. Files whose times have stood
still for so long ..."""
_GLANCES = 25
"""... are looked into at every so many polls only, half a second, for the sake of others."""

_CALL_TIMEOUT = 5.0
"""Seconds that a read of the thread may wait for its turn, and close() for the thread."""


class WatchHub:
    """Owner of the thread ``etcdaero-watch``, which runs from the first watch until :meth:`stop`."""

    def __init__(
        self,
        connection: GuardedConnection,
        *,
        clock: Callable[[], float],
        expire: Callable[[], object],
        poll: bool,
    ) -> None:
        """``expire`` ends the leases that are due; ``poll`` says that other processes may write."""
        self._connection = connection
        self._clock = clock
        self._expire = expire
        self._poll = poll
        self._wake = Flag()
        self._lock = threading.RLock()
        self._thread = Background(self._run, name="etcdaero-watch")
        self._stopping = False
        self._arrivals: list[EmbeddedWatch] = []
        # What follows belongs to the thread.
        self._watches: list[EmbeddedWatch] = []
        self._uid: bytes | None = None
        self._position = 0
        self._failing = False
        self._progress_at = 0.0
        self._seen: tuple[int, int] | None = None
        """The state of the file of which all is known; ``None``: not all."""
        self._glance: tuple[object, ...] = ()
        """What the files' times were at the last look, since when, and for how many looks."""
        self._still_since = 0.0
        self._glances = 0
        self._due: float | None = None
        """When the next lease runs out in that state, by the clock."""
        self._stirred = 0.0
        """When the store changed or a watch was added last, by the clock."""

    def add(self, watch: EmbeddedWatch) -> bool:
        """Take over a watch, unless the hub was stopped; return whether it did."""
        with self._lock:
            if self._stopping:
                return False
            self._arrivals.append(watch)
            self._thread.start()
        self._wake.set()
        return True

    def wake(self) -> None:
        """Tell that the store has changed."""
        if (self._watches or self._arrivals) and not self._wake.is_set():
            self._wake.set()

    def stop(self) -> None:
        """End all watches with ``WatchLost.CLOSED`` and join the thread. Idempotent; allowed inside a sink."""
        with self._lock:
            self._stopping = True
        self._wake.set()
        if not self._thread.join(_CALL_TIMEOUT):
            _log.error("the sink of a watch has not returned for %s s; its thread is left behind", _CALL_TIMEOUT)

    # the thread ------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._wake.clear()
                pause: float | None
                try:
                    pause = self._step()
                    self._failing = False
                except EtcdAeroError as error:
                    if not self._failing:
                        _log.warning("watches wait for the store: %s", error)
                    self._failing = True
                    pause = _RETRY
                self._wake.wait(pause)
        finally:
            with self._lock:
                self._stopping = True
                watches = self._watches + self._arrivals
                self._watches, self._arrivals = [], []
            self._lose(watches, WatchLost.CLOSED, self._position)

    def _step(self) -> float | None:
        """Bring the watches forward once; return how long to wait for the next time (``None``: until woken)."""
        with self._lock:
            arrivals, self._arrivals = self._arrivals, []
        try:
            state = None
            if self._poll and not self._connection.without_room:
                quiet = self._looks_quiet() and self._seen is not None
                state = self._seen if quiet else self._connection.state(_CALL_TIMEOUT)
                if state == self._seen and not arrivals:
                    self._watches = [watch for watch in self._watches if not watch.ended]
                    self._mark_progress()
                    return self._pause(self._due)
            self._seen = None
            first = self._uid is None
            piece = self._read(None if first else self._position)
        except BaseException:
            with self._lock:
                self._arrivals = arrivals + self._arrivals
            raise
        if self._uid != piece.uid or piece.head < self._position:
            self._lose(self._watches, WatchLost.RESET, piece.head)
            self._uid, self._position = piece.uid, piece.head
            piece = piece._replace(upto=piece.head, changes=())
        if arrivals or piece.head > self._position:
            self._stirred = self._clock()
        self._follow(piece)
        self._admit(arrivals, piece)
        behind = self._catch_up()
        self._watches = [watch for watch in self._watches if not watch.ended]
        self._mark_progress()
        if behind or self._position < piece.head:
            return 0.0
        self._seen, self._due = state, piece.due
        return self._pause(piece.due)

    def _looks_quiet(self) -> bool:
        """Tell whether the files' times say that nothing was written since all was known."""
        glance, now = self._connection.glance(), self._clock()
        if glance != self._glance:
            self._glance, self._still_since, self._glances = glance, now, 0
            return False
        self._glances += 1
        return now - self._still_since > _TICK and self._glances % _GLANCES != 0

    def _read(self, after: int | None, watch: EmbeddedWatch | None = None) -> Slice:
        """Read what ``watch`` wants, or all watches together."""
        wanted = any(each.request.prev_kv for each in ([watch] if watch else self._watches))
        span = (watch.key, watch.range_end) if watch else (b"\0", b"\0")
        return self._connection.read(lambda cursor: read_slice(cursor, after, *span, previous=wanted), _CALL_TIMEOUT)

    def _follow(self, piece: Slice) -> None:
        """Move all watches that are up to date to the end of ``piece``."""
        if piece.compacted > self._position + 1:
            # The thread itself fell behind. Nothing was read; those that wait for later revisions lose nothing.
            self._lose(
                [watch for watch in self._watches if watch.next_revision < piece.compacted],
                WatchLost.COMPACTED,
                piece.head,
                piece.compacted,
            )
            self._position = piece.compacted - 1
            return
        if piece.upto <= self._position:
            return
        current = [watch for watch in self._watches if watch.next_revision > self._position]
        for watch, changes in _sort_out(current, piece.changes):
            watch.advance(changes, piece.upto)
        for watch in current:
            watch.next_revision = max(watch.next_revision, piece.upto + 1)
        self._position = piece.upto

    def _admit(self, arrivals: Iterable[EmbeddedWatch], piece: Slice) -> None:
        for watch in arrivals:
            if watch.inverted:
                watch.lose(WatchLost.REFUSED, piece.head)
            elif not same_file(watch.identity, self._connection.identity) or watch.seen_revision > piece.head:
                watch.lose(WatchLost.RESET, piece.head)
            else:
                self._watches.append(watch)

    def _catch_up(self) -> bool:
        """Bring each watch that is behind one piece forward; return whether one is still behind."""
        behind = False
        for watch in [watch for watch in self._watches if watch.next_revision <= self._position]:
            if watch.ended:
                continue
            piece = self._read(watch.next_revision - 1, watch)
            if piece.uid != self._uid or piece.head < self._position:
                return True  # the store was replaced: the next step sorts it out
            if watch.next_revision < piece.compacted:
                self._lose([watch], WatchLost.COMPACTED, piece.head, piece.compacted)
                continue
            upto = min(piece.upto, self._position)
            watch.advance([change for change in piece.changes if change.event.kv.mod_revision <= upto], upto)
            if watch.next_revision <= self._position:
                behind = True
            elif watch.request.progress_notify and watch.request.start_revision > 0:
                watch.deliver(WatchBatch((), upto))
        return behind

    def _lose(self, watches: Iterable[EmbeddedWatch], why: WatchLost, revision: int, compact_revision: int = 0) -> None:
        for watch in list(watches):
            watch.lose(why, revision, compact_revision)
        self._watches = [watch for watch in self._watches if not watch.ended]

    def _mark_progress(self) -> None:
        now = self._clock()
        if not self._progress_at:
            self._progress_at = now + PROGRESS_INTERVAL
        elif now >= self._progress_at:
            self._progress_at = now + PROGRESS_INTERVAL
            for watch in self._watches:
                if watch.request.progress_notify:
                    watch.mark_progress(self._position)

    def _pause(self, due: float | None) -> float | None:
        if not self._watches:
            return None if not self._poll else 1.0
        if self._connection.without_room:
            return _RETRY
        pause = None
        if self._poll:
            pause = min(POLL_INTERVAL, max(_SHORTEST_POLL, _STIRRED_SHARE * (self._clock() - self._stirred)))
        if due is not None:
            left = due - self._clock()
            if left <= 0:
                with suppress(EtcdAeroError):  # somebody else holds the store: they, or the next look, will do it
                    self._expire()
                return POLL_INTERVAL
            pause = min(left, pause or _LEASE_POLL)
        if any(watch.request.progress_notify for watch in self._watches):
            left = max(0.0, self._progress_at - self._clock())
            pause = left if pause is None else min(pause, left)
        return pause


def _sort_out(watches: list[EmbeddedWatch], changes: Iterable[Change]) -> Iterable[tuple[EmbeddedWatch, list[Change]]]:
    """Return each watch that has changes in its range, with them."""
    single: dict[bytes, list[EmbeddedWatch]] = {}
    ranges: list[EmbeddedWatch] = []
    for watch in watches:
        if watch.range_end:
            ranges.append(watch)
        else:
            single.setdefault(watch.key, []).append(watch)
    found: dict[int, tuple[EmbeddedWatch, list[Change]]] = {}
    for change in changes:
        key = change.event.kv.key
        for watch in single.get(key, ()):
            found.setdefault(id(watch), (watch, []))[1].append(change)
        for watch in ranges:
            if watch.wants(key):
                found.setdefault(id(watch), (watch, []))[1].append(change)
    return found.values()
