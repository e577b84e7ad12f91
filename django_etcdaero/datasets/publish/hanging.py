"""How many loads of a dataset hang in this process: given up, and their threads still there.

Each holds a thread, what the load has made so far, and maybe a connection to a source that is in trouble already. So
there is a limit. It is more than one because one connection that hangs says nothing about the next, and where only one
process refreshes nobody else could try.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from contextlib import suppress

from django_etcdaero.datasets.layout import Layout
from django_etcdaero.datasets.state.overdue import OverdueLoad, leave_word
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.exceptions import EtcdAeroError, LoadOverdue
from django_etcdaero.keyvalue.recipes.temporary import TemporaryKey
from django_etcdaero.system.clocks import monotonic

logger = logging.getLogger("django_etcdaero.datasets")

MOST = 3
"""Loads of one dataset that may hang in a process; then no other begins there until one of them has ended."""

WORD_TTL = 30
"""Seconds after which other processes are no longer told of a load that hangs in a process that died."""

_mutex = threading.Lock()
_hanging: Counter[tuple[int, str]] = Counter()
"""By process (a fork has none of the threads of its parent) and name of the dataset."""


def hanging(name: str) -> int:
    """Return how many loads of the dataset hang in this process."""
    return _hanging[os.getpid(), name]


def refuse_one_more(name: str) -> None:
    """Raise ``LoadOverdue`` when no other load may begin."""
    if hanging(name) >= MOST:
        raise LoadOverdue(
            f"{MOST} loads of dataset {name!r} hang in this process, so no other begins here until one has ended"
        )


class HangingLoad:
    """One load that hangs; made when it is given up."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = monotonic()
        self._key = os.getpid(), name
        self._word: TemporaryKey | None = None
        with _mutex:
            _hanging[self._key] += 1

    def leave_word(self, stores: Stores, layout: Layout, limit: float) -> None:
        """Tell other processes of it until it ends; ``limit`` is its time in seconds, which is over now."""
        load = OverdueLoad(since=time.time() - limit, limit=limit)
        self._word = leave_word(stores.kv, layout, load, ttl=WORD_TTL)

    def end(self) -> None:
        """Note that it has ended."""
        with _mutex:
            _hanging[self._key] -= 1
        passed = monotonic() - self._began
        logger.warning("dataset %s: a load ended %.0f s after it was given up; it is refused", self._name, passed)
        self.take_back_word()

    def take_back_word(self) -> None:
        """Tell other processes of it no longer. Waits for the store for some seconds at most."""
        word, self._word = self._word, None
        if word is not None:
            with suppress(EtcdAeroError):  # it is gone within its time to live
                word.close()
