"""Waiting for other threads, where handlers of signals raise.

A handler runs in the main thread between any two steps of Python code, and what it raises goes through whatever was
running. ``with lock`` takes a lock of CPython's own in one step and gives it back in one. ``threading.Condition`` and
``threading.Event`` need several: an exception between them leaves a lock taken that nobody gives back, and then every
thread that wants it waits for ever. What is here leaves nothing taken.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import suppress
from operator import attrgetter
from typing import Any

from .clocks import monotonic

NAP = 0.5
"""Seconds after which the main thread sees a signal that came in the wrong moment."""


class Condition(threading.Condition):
    """A condition whose lock is taken and given back by ``with`` in one step each.

    Waiting for it still takes several: who may wait in the main thread uses a :class:`Bell`.
    """

    # Looking these up may be interrupted; calling what they return, a method of a lock in C, may not.
    __enter__ = property(attrgetter("_lock.__enter__"))
    __exit__ = property(attrgetter("_lock.__exit__"))


class Bell:
    """Wakes up threads that wait until something is so. There is no lock in it: a list is changed in one step."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Any] = []

    def ring(self) -> None:
        """Let all who wait look again. To be called after the change, from any thread."""
        for waiter in tuple(self._waiting):
            with suppress(RuntimeError):  # it has been woken up already
                waiter.release()

    def wait_for(self, predicate: Callable[[], object], timeout: float | None) -> bool:
        """Wait until ``predicate()``, at most ``timeout`` seconds (``None`` or infinite: without end); return whether
        it holds. It is called without any lock.
        """
        if predicate():
            return True
        limit = math.inf if timeout is None else monotonic() + timeout
        longest = NAP if threading.current_thread() is threading.main_thread() else threading.TIMEOUT_MAX
        waiter = threading.Lock()
        waiter.acquire()
        self._waiting.append(waiter)
        try:
            while not predicate():
                left = limit - monotonic()
                if left <= 0:
                    return False
                waiter.acquire(timeout=min(left, longest))
            return True
        finally:
            self._waiting.remove(waiter)


class Flag:
    """What ``threading.Event`` is."""

    __slots__ = ("_bell", "_set")

    def __init__(self) -> None:
        self._bell = Bell()
        self._set = False

    def is_set(self) -> bool:
        """Tell whether it is set."""
        return self._set

    def set(self) -> None:
        """Set it, and wake up all who wait."""
        self._set = True
        self._bell.ring()

    def clear(self) -> None:
        """Let who waits from now on wait until it is set again."""
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most ``timeout`` seconds; return whether it is."""
        return self._set or self._bell.wait_for(self.is_set, timeout)
