"""The notices of one alias: sending those of this process, and passing on those of others.

Each process that has something to say overwrites one key of its own, ``caches/<host>-<pid>-<random>``, which hangs on
its session's lease. What changes between two writes of the key goes into one notice. A process writes at most
:data:`PER_SECOND` notices in a second, and in the long run :data:`LONG_RUN` in a second, so that what a store keeps of
the past stays small; more changes make notices coarser, not more frequent (:mod:`.notice`).

All who have a near cache watch ``caches/``. The watch resumes by itself where it stopped. When something may have been
missed everything that is held is dropped: at its start, after a :class:`~.Resync`, and when a number is left out.

One thread does both. It starts when there is something to do, and ends when there was nothing for a while. Nobody else
waits for the store. A notice that cannot be sent is tried again for as long as others may hold what it is about.
"""

from __future__ import annotations

import atexit
import logging
import os
import random
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from django_etcdaero.datasets.layout import CACHES
from django_etcdaero.exceptions import EtcdAeroError, LeaseNotFound
from django_etcdaero.keyvalue.client.feed import Resync, WatchItem
from django_etcdaero.keyvalue.values import Event, EventType
from django_etcdaero.system import forks
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Condition
from django_etcdaero.system.threads import Background, wait_for

from .notice import Notice, unpack

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.client.watch import Watch
    from django_etcdaero.keyvalue.facade import KV

logger = logging.getLogger("django_etcdaero.cache")

PER_SECOND: Final = 20.0
LONG_RUN: Final = 2.0
SAVED_UP: Final = 100.0
"""Notices that may be written at :data:`PER_SECOND` before :data:`LONG_RUN` counts."""

CALL_TIMEOUT: Final = 2.0
"""Seconds that a call to the store may take."""
FIRST_RETRY: Final = 0.1
LONGEST_RETRY: Final = 5.0
"""Seconds until what has failed is tried again: they grow from the one to the other."""
REWATCH: Final = 1.0
"""Seconds between two starts of the watch."""
LINGER: Final = 5.0
"""Seconds without anything to do after which the thread ends."""
EXIT_PATIENCE: Final = 5.0
"""Seconds that the end of the process waits for the last notice, which may have to open the client first. Where the
store is away the first call that fails ends it."""


class Receiver(Protocol):
    """Whoever holds copies of entries or stamps."""

    def forget(self, notice: Notice) -> object:
        """Drop what the notice is about. Called from any thread; must not raise or wait."""


class Budget:
    """When the next notice may be written."""

    def __init__(self, now: float) -> None:
        self._saved = SAVED_UP
        self._counted_at = now
        self.next = now
        """By the clock."""

    def spend(self, now: float) -> None:
        """A notice is written."""
        self._saved = min(SAVED_UP, self._saved + (now - self._counted_at) * LONG_RUN) - 1
        self._counted_at = now
        self.next = now + max(1 / PER_SECOND, -self._saved / LONG_RUN)


class Notices:
    """What the caches of this process that use one alias tell others, and are told.

    ``kv()`` opens the alias's client, and ``lease_ttl()`` is the time to live of its session in seconds.
    """

    def __init__(self, kv: Callable[[], KV], *, lease_ttl: Callable[[], int]) -> None:
        self._kv = kv
        self._lease_ttl = lease_ttl
        self._receivers: list[Receiver] = []
        self._max_age = 0.0
        self._begin()
        forks.protect(self)

    def _begin(self) -> None:
        now = monotonic()
        self._changed = Condition()
        """Guards what follows."""
        self._thread = Background(self._run, name="etcdaero-cache-notices")
        self._running = False
        self._ended = False
        self._pending = Notice()
        self._pending_since = now
        self._sending = False
        self._budget = Budget(now)
        self._try_at = now
        self._failures = 0
        self._watch: Watch[Event] | None = None
        self._watch_wanted = False
        self._watch_at = now
        self._watch_failures = 0
        # Of this process and its thread only:
        self._key = f"{CACHES}{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}".encode()
        self._number = 0
        self._seen: dict[bytes, int] = {}

    # --- for caches --------------------------------------------------------------------------------------------------

    def add(self, receiver: Receiver, *, max_age: float) -> None:
        """Tell ``receiver``, which holds nothing for longer than ``max_age`` seconds, of each notice."""
        with self._changed:
            self._receivers = [*self._receivers, receiver]
            self._max_age = max(self._max_age, max_age)

    def publish(self, notice: Notice) -> None:
        """Tell all receivers: those of this process before this returns, those of others soon. Never raises."""
        self._deliver(notice)
        with self._changed:
            if self._ended:
                return
            first = not self._pending
            if first:
                self._pending_since = monotonic()
            self._pending.add(notice)
            if first or not self._running:  # else the thread knows already when to send
                self._start()

    def follow(self) -> None:
        """See to it that notices of others come in, soon. Never raises, never waits."""
        watch = self._watch
        if watch is not None and not watch.closed:
            return
        if self._watch_wanted or monotonic() < self._watch_at:
            return
        with self._changed:
            if not self._ended:
                self._watch_wanted = True
                self._start()

    @property
    def following(self) -> bool:
        """Whether there is a watch."""
        watch = self._watch
        return watch is not None and not watch.closed

    def finish(self, timeout: float = EXIT_PATIENCE) -> None:
        """Send what is pending, unless that has failed already, and nothing more from now on."""
        with self._changed:
            self._budget.next = monotonic()
            self._changed.notify_all()
            wait_for(self._changed, lambda: self._failures > 0 or not (self._pending or self._sending), timeout)
            self._ended = True
            self._changed.notify_all()

    # --- forks -------------------------------------------------------------------------------------------------------

    def before_fork(self, timeout: float) -> None:
        """Its calls are the client's, which sees to them."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def let_go(self) -> None:
        """End the thread; the next change, or who wants to follow, starts another one."""
        self.finish()
        if self._thread.join(forks.PATIENCE):
            self._begin()

    def abandon(self) -> None:
        """In the child: begin anew, with a key of its own. What is pending is the parent's to send."""
        self._begin()
        forks.protect(self)

    # --- the thread --------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """See to it that the thread runs. With the condition."""
        if self._running:
            self._changed.notify_all()
            return
        try:
            self._thread = Background(self._run, name="etcdaero-cache-notices")
            self._running = True
            self._thread.start()
        except RuntimeError as error:  # no thread to be had: the next notice tries again
            self._running = False
            logger.warning("notices of the near cache cannot be sent: %s", error)

    def _run(self) -> None:
        changed = self._changed  # another one in the child of a fork
        try:
            while self._wait():
                self._watch_if_due()
                self._send_if_due()
        except BaseException:
            with changed:
                self._running = False
            raise

    def _wait(self) -> bool:
        """Wait for something to do; return whether there is."""
        with self._changed:
            limit = monotonic() + LINGER
            while not self._ended:
                now = monotonic()
                due = min(self._due(), limit)
                if due > now:
                    self._changed.wait(due - now)
                elif self._due() <= now:
                    return True
                else:
                    break
            self._running = False
            return False

    def _due(self) -> float:
        due = float("inf")
        if self._pending:
            due = max(self._budget.next, self._try_at)
        if self._watch_wanted:
            due = min(due, self._watch_at)
        return due

    def _watch_if_due(self) -> None:
        with self._changed:
            if not self._watch_wanted or monotonic() < self._watch_at:
                return
            self._seen = {}
        error: Exception | None = None
        watch = None
        try:
            watch = self._kv().watch(CACHES, prefix=True, callback=self._take, timeout=CALL_TIMEOUT)
        except Exception as raised:
            error = raised
        with self._changed:
            self._watch_wanted = False
            self._watch = watch
            self._watch_failures = 0 if error is None else self._watch_failures + 1
            self._watch_at = monotonic() + (REWATCH if error is None else _pause(self._watch_failures))
        if error is None:
            self._deliver(Notice(everything=True))  # what came in before may have been changed unseen
        elif self._watch_failures == 1:
            logger.warning("near caches are not told of changes, max_age is the bound: %s", _told(error))

    def _send_if_due(self) -> None:
        with self._changed:
            now = monotonic()
            if not self._pending or now < max(self._budget.next, self._try_at):
                return
            notice, self._pending = self._pending, Notice()
            since = self._pending_since
            self._budget.spend(now)
            self._sending = True
        error: Exception | None = None
        try:
            self._send(notice)
        except Exception as raised:
            error = raised
        with self._changed:
            self._sending = False
            if error is None:
                self._failures = 0
                self._number += 1
            else:
                self._failures += 1
                now = monotonic()
                self._try_at = now + _pause(self._failures)
                if now - since <= self._max_age:  # else nobody holds anything of before
                    self._pending.add(notice)
                    self._pending_since = since
            self._changed.notify_all()
        if self._failures == 1:
            logger.warning("changes are not told to other near caches, max_age is the bound: %s", _told(error))

    def _send(self, notice: Notice) -> None:
        kv = self._kv()
        lease = kv.session(self._lease_ttl(), timeout=CALL_TIMEOUT).lease
        try:
            # The same number again if it is not known whether this one arrived: it will say more, not less.
            kv.put(self._key, notice.pack(self._number + 1), lease=lease, timeout=CALL_TIMEOUT)
        except LeaseNotFound:
            with suppress(EtcdAeroError):
                lease.keep_alive(timeout=CALL_TIMEOUT)  # which notices it, so that the next try has another one
            raise

    # --- what comes in -----------------------------------------------------------------------------------------------

    def _take(self, item: WatchItem) -> None:
        """Pass on what the watch delivers. In the client's dispatcher."""
        if isinstance(item, Resync):
            self._seen = {kv.key: received.number for kv in item.kvs if (received := unpack(kv.value)) is not None}
            self._deliver(Notice(everything=True))
        elif isinstance(item, Event) and item.kv.key != self._key:
            if item.type is EventType.DELETE:
                self._seen.pop(item.kv.key, None)
                return
            received = unpack(item.kv.value)
            if received is None:
                return
            before = self._seen.get(item.kv.key)
            self._seen[item.kv.key] = received.number
            complete = before is None or received.number in (before, before + 1)
            self._deliver(received.notice if complete else Notice(everything=True))

    def _deliver(self, notice: Notice) -> None:
        for receiver in self._receivers:
            receiver.forget(notice)


def _pause(failures: int) -> float:
    return min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(failures, 10)) * random.uniform(0.5, 1.0)


def _told(error: Exception | None) -> str:
    return f"{type(error).__name__}: {error}"


_by_alias: dict[str, Notices] = {}
_lock = threading.Lock()


def notices_of(alias: str, kv: Callable[[], KV], *, lease_ttl: Callable[[], int]) -> Notices:
    """Return the notices of an alias in this process, made now if need be. They are finished at its end."""
    found = _by_alias.get(alias)
    if found is None:
        with _lock:
            found = _by_alias.get(alias)
            if found is None:
                found = _by_alias[alias] = Notices(kv, lease_ttl=lease_ttl)
                # Here, not when this is imported: what was registered last is called first, before the stores close.
                atexit.register(found.finish)
    return found
