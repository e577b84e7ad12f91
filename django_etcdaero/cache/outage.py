"""What a cache does while its store is away: raise, or go on as if it were empty.

With ``IGNORE_EXCEPTIONS`` a failure opens a circuit: nothing is asked of the store, and every ``RETRY_INTERVAL``
seconds a look at it is taken in the background. So an outage costs the calls that meet it one timeout and no later one,
and is logged at its start and its end. Deletions and other invalidations that did not reach the store are repeated
before anything is read from it again. A store that is full is not away: it is read, and what could not be written to it
is deleted there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from django_etcdaero.exceptions import (
    Cancelled,
    ClusterError,
    ConfigurationError,
    DeadlineExceeded,
    EtcdAeroError,
    KeyNotFound,
    OutcomeUnknown,
    RecordTooBig,
    StoreFull,
)
from django_etcdaero.system.clocks import monotonic

from .counters import Counters
from .pending import Pending

logger = logging.getLogger("django_etcdaero.cache")

T = TypeVar("T")

AWAY: Final = (Cancelled, ClusterError, ConfigurationError, DeadlineExceeded, OutcomeUnknown, PermissionError)
"""Errors after which the store is left alone for a while."""

ANSWERS: Final = (KeyNotFound, RecordTooBig)
"""Errors that say something of the entry, not of the store."""

FULL_INTERVAL: Final = 60.0
"""Seconds between two log lines that say that the store is full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Away:
    """A store that is away, as this process knows it."""

    since: float
    """Seconds since the epoch."""
    error: str
    """What it failed with last."""
    deletions: int
    """Keys and tags that are to be invalidated when it is back."""
    clears: int
    """Key prefixes of which everything is to go when it is back."""


class Outage:
    """Sees to the calls of one cache. ``repeat(pending)`` does what was left undone, and raises if it cannot.

    ``look()`` asks the store something, ``start(function)`` calls a function in the background.
    ``forget()`` is called when something was left undone: nothing that is held in memory may stand in for it;
    ``full()`` when the store has no room.
    ``times``: measure how long calls take. Where they take no longer than looking at a clock that is a waste.
    """

    def __init__(
        self,
        *,
        ignore: bool,
        retry_interval: float,
        counters: Counters,
        repeat: Callable[[Pending], object],
        look: Callable[[], object],
        start: Callable[[Callable[[], object]], object],
        forget: Callable[[], object] = lambda: None,
        full: Callable[[], object] = lambda: None,
        times: bool = True,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._ignore = ignore
        self._interval = retry_interval
        self._counters = counters
        self._repeat = repeat
        self._look = look
        self._start = start
        self._forget = forget
        self._when_full = full
        self._times = times
        self._clock = clock
        self._lock = threading.Lock()
        self._closed_at: float | None = None
        """``None``: the store answers. Else the time from which on it may be looked at."""
        self._looking = False
        self._recovered = 0
        """How often the store has come back."""
        self._since = 0.0
        self._told_full: float | None = None
        self._last: Exception | None = None
        self.pending = Pending()

    @property
    def away(self) -> bool:
        """Whether the store was away when it was last asked, and errors are ignored."""
        return self._closed_at is not None

    def state(self) -> Away | None:
        """Return what is known of a store that is away; ``None``: it answered when it was last asked."""
        with self._lock:
            if self._closed_at is None:
                return None
            since = time.time() - (self._clock() - self._since)
            left = sum(map(len, (*self.pending.keys.values(), *self.pending.tags.values())))
            return Away(since=since, error=str(self._last), deletions=left, clears=len(self.pending.cleared))

    @property
    def ignores(self) -> bool:
        """Whether a store that is away counts as an empty one."""
        return self._ignore

    def run(
        self,
        operation: str,
        call: Callable[[], T],
        default: T,
        *,
        undone: Callable[[Pending], object] | None = None,
    ) -> T:
        """Return what ``call`` does, or ``default`` when the store is away and errors are ignored.

        ``operation``: what its time is counted as. ``undone(pending)`` notes then what must be done when it is back.
        """
        if not self._ignore:
            return self._counted(operation, call)
        try:
            return self._guarded(operation, call)
        except ANSWERS:
            raise
        except EtcdAeroError as error:
            if undone is not None:
                self._leave_undone(undone, error)
            return default

    def _leave_undone(self, undone: Callable[[Pending], object], error: EtcdAeroError) -> None:
        self._forget()
        if not isinstance(error, AWAY) and self._undo_now(undone):
            return
        with self._lock:
            undone(self.pending)
        if self._closed_at is None:
            self._open(error)  # whatever it was: what is left undone is repeated when the circuit closes

    def insist(self, operation: str, call: Callable[[], T]) -> T:
        """Return what ``call`` does, or raise, whether errors are ignored or not; while the store is away at once."""
        return self._guarded(operation, call) if self._ignore else self._counted(operation, call)

    def _counted(self, operation: str, call: Callable[[], T]) -> T:
        try:
            return self._timed(operation, call) if self._times else call()
        except ANSWERS:
            raise
        except EtcdAeroError as error:
            self._counters.errors += 1
            if isinstance(error, StoreFull):
                self._when_full()
            raise

    def give_up(self, error: EtcdAeroError) -> None:
        """Let the store count as away: calls have waited for it for too long."""
        self._open(error)

    def _timed(self, operation: str, call: Callable[[], T]) -> T:
        started = monotonic()
        try:
            return call()
        finally:
            self._counters.took(operation, monotonic() - started)

    def _guarded(self, operation: str, call: Callable[[], T]) -> T:
        if self._closed_at is not None:
            self._refuse()
        began = self._recovered
        try:
            return self._counted(operation, call)
        except ANSWERS:
            raise
        except EtcdAeroError as error:
            if isinstance(error, AWAY):
                if began == self._recovered:  # else it is the last outage that this call has met
                    self._open(error)
            elif isinstance(error, StoreFull):
                self._tell_full(error)
            else:
                logger.warning("ignored: %s: %s", type(error).__name__, error)
            raise

    def _tell_full(self, error: StoreFull) -> None:
        now = self._clock()
        with self._lock:
            if self._told_full is not None and now < self._told_full + FULL_INTERVAL:
                return
            self._told_full = now
        logger.error("the store of the cache is full, what is written is not kept: %s", error)

    def _undo_now(self, undone: Callable[[Pending], object]) -> bool:
        """Let the old entry not stay in place of one that the store had no room for; return whether that was done."""
        pending = Pending()
        undone(pending)
        try:
            self._repeat(pending)
        except Exception as error:
            if not isinstance(error, EtcdAeroError):
                logger.exception("what was left undone cannot be done")
            return False
        return True

    def _refuse(self) -> None:
        """Raise, because the store is away; look at it in the background if it is time for that."""
        now = self._clock()
        with self._lock:
            if self._closed_at is None:
                return
            self._counters.ignored += 1
            error = ClusterError(f"the store was away {now - self._since:.1f} s ago: {self._last}")
            looks = now >= self._closed_at and not self._looking
            self._looking = self._looking or looks
        if looks and self._start(self._try_again) is None:  # no thread to be had
            self._looking = False
        raise error

    def _try_again(self) -> None:
        """Look at the store, do what was left undone, and close the circuit."""
        try:
            self._look()
            while True:
                with self._lock:
                    pending = self.pending
                    if not pending:
                        self._closed_at = None
                        self._recovered += 1
                        break
                    self.pending = Pending()
                try:
                    self._repeat(pending)
                except BaseException as error:
                    with self._lock:
                        if isinstance(error, EtcdAeroError) or not isinstance(error, Exception):
                            self._put_back(pending)
                        else:  # not the store's word: it would be the same each time
                            logger.exception("what was left undone cannot be done, so everything is cleared")
                            for prefix in pending.prefixes() - pending.cleared:
                                self.pending.clear(prefix)
                    raise
        except Exception as error:
            self._counters.errors += 1
            self._open(error)
        else:
            logger.warning("the store of the cache answers again, after %.1f s", self._clock() - self._since)
        finally:
            self._looking = False

    def after_fork_in_child(self) -> None:
        """Forget who was looking in the parent."""
        self._lock = threading.Lock()
        self._looking = False
        self.pending = Pending()  # the parent sees to its own

    def _open(self, error: Exception) -> None:
        with self._lock:
            first = self._closed_at is None
            self._last = error
            self._closed_at = self._clock() + self._interval
            if first:
                self._since = self._clock()
        if first:
            logger.error("the store of the cache is away, the cache counts as empty: %s", error)

    def _put_back(self, pending: Pending) -> None:
        for prefix in pending.cleared:
            self.pending.clear(prefix)
        for prefix, keys in pending.keys.items():
            self.pending.delete(prefix, keys)
        for prefix, tags in pending.tags.items():
            self.pending.invalidate(prefix, tags)
