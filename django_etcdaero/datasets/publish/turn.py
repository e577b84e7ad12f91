"""Taking the lock of a dataset, in line with others, and whether there is still something to do then."""

from __future__ import annotations

import logging
import time
from typing import Protocol

from django_etcdaero.datasets.state.stored_state import Checked, StoredState
from django_etcdaero.exceptions import LockLost, LockTimeout
from django_etcdaero.keyvalue.queue.lock import Holder, Lock
from django_etcdaero.system.clocks import monotonic

from .commit import give_back

logger = logging.getLogger("django_etcdaero.datasets")

AGAIN = 0.5
"""Seconds between the loss of a place in the queue for the lock and the next try to get one."""


class Line(Protocol):
    """Whoever runs many refreshes in few threads: it decides which of them wait for a lock."""

    def enter(self) -> float:
        """Return how many seconds this refresh may wait for the lock, which another process has; 0: not at all."""

    def leave(self) -> bool:
        """Tell whether it may load, now that it has the lock. If not, it lets the lock go."""


class Turn:
    """The turn of one refresh of the dataset ``name``; ``wait`` and ``line`` are those of the refresh."""

    def __init__(self, lock: Lock, name: str, *, wait: float, line: Line | None) -> None:
        self._lock = lock
        self._name = name
        self._wait = wait
        self._line = line
        self._met: Holder | None = None
        """Who had the lock when this refresh got in line for it."""

    def take(self) -> str | None:
        """Take the lock, in line if need be; if that cannot be done say who has it. Raises what the store raises."""
        holder = self._acquire(0.0)
        if holder is None:
            return None
        seconds = self._wait if self._line is None else self._line.enter()
        if seconds <= 0:
            return holder
        self._met = self._lock.holder()
        holder = self._acquire(seconds)
        if holder is None and self._line is not None and not self._line.leave():
            give_back(self._lock)
            return "nobody: this process is busy with others"
        return holder

    def loaded_since(self, asked: StoredState, now: Checked | None) -> bool:
        """Tell whether a load has come to its end that began after this refresh asked for the lock, and had to wait.

        ``asked`` is what was read before that, ``now`` the last load when the lock was taken. Such a load was begun by
        who took the lock later than whoever had it then; or by that one, if it read what there is to do at a later
        revision. Then this refresh has nothing to add, also if it was to load whatever is due.
        """
        if self._met is None or now is None or (asked.checked is not None and asked.checked.id == now.id):
            return False
        return now.lock_token > self._met.token or now.began_after > asked.revision > 0

    def _acquire(self, seconds: float) -> str | None:
        """Take the lock within ``seconds``; if that cannot be done say who has it.

        A place in the queue is lost when this process or the store was away for longer than the lock's time to live, or
        the store was emptied. That says nothing about the lock, so another place is taken.
        """
        limit = monotonic() + seconds
        left = seconds
        while True:
            try:
                self._lock.acquire(timeout=left)
                return None
            except (LockTimeout, LockLost) as error:
                if left > 0 and isinstance(error, LockLost):
                    logger.info("dataset %s: queueing for the lock again: %s", self._name, error)
                    time.sleep(min(AGAIN, max(0.0, limit - monotonic())))
                    left = max(0.0, limit - monotonic())  # 0: one more try, without getting in line
                    continue
                holder = self._lock.holder()
                if holder is None and error.__cause__ is not None:
                    raise  # nobody has it: the store was in the way
                return str(holder or "another process, which has just let go")
