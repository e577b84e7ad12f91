"""Forks by a server in C that runs none of Python's hooks: everything is closed before them.

The C library calls before each fork what was registered with ``pthread_atfork``. Resting as before other forks
(:mod:`.forks`) is not enough there. A store that stays open cannot be told from the child's own: SQLite would take the
parent's locks on a file for its own, and gRPC has threads that are not there. And whoever forks in C does not hold the
lock of Python's interpreter: a thread that has it, or waits for it, in that moment blocks the child for ever. So
threads must have ended.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from . import forks
from .clocks import monotonic

_log = logging.getLogger("django_etcdaero.runtime")

PATIENCE = 3.0
"""Longest time in seconds that a fork waits for the end of threads, beside the time that closing takes."""

_seeing: _Seeing | None = None


class _Seeing:
    """What is done before the forks of one process."""

    def __init__(self, before: Callable[[], object]) -> None:
        self.pid = os.getpid()
        self._before = before
        self._last: list[Callable[[], object]] = []
        self._kept: list[Any] = []
        """What the C library may call as long as the process lives."""
        self._others = set(threading.enumerate())
        """Threads that nobody waits for: they were there before, or did not end in time once."""

    def register(self) -> bool:
        """Have the C library call this before each fork, as the first of all; return whether it will."""
        library = ctypes.CDLL(None)
        handler = ctypes.CFUNCTYPE(None)(self._prepare)
        # glibc exports the function behind pthread_atfork() only, which has one argument more.
        for name, others in (("__register_atfork", (None, None, None)), ("pthread_atfork", (None, None))):
            register = getattr(library, name, None)
            if register is not None and register(handler, *others) == 0:
                self._kept.append(handler)
                return True
        return False

    def add(self, last: Callable[[], object]) -> None:
        """Call ``last()`` when everything is closed. Comes before what libraries have registered until now."""
        self._last.append(last)
        self.register()

    def _prepare(self) -> None:
        if os.getpid() != self.pid or forks.in_progress():
            return
        try:
            forks.let_go()
            self._before()
            limit = monotonic() + PATIENCE
            for thread in set(threading.enumerate()) - self._others:
                thread.join(max(0.0, limit - monotonic()))
                if thread.is_alive():
                    self._others.add(thread)
                    _log.warning("the thread %s did not end before this process was forked", thread.name)
            for last in self._last:
                last()
        except Exception:
            _log.exception("not everything could be closed before this process was forked")


def see_to(before: Callable[[], object]) -> bool:
    """Call ``before()``, which closes everything, before each fork of this process that is not Python's.

    Returns whether that can be done on this system. One ``before`` for each process: the first one.
    """
    global _seeing
    if not seen_to():
        seeing = _Seeing(before)
        if not seeing.register():
            return False
        _seeing = seeing
    return True


def seen_to() -> bool:
    """Tell whether somebody sees to such forks of this process."""
    return _seeing is not None and _seeing.pid == os.getpid()


def when_closed(last: Callable[[], object]) -> None:
    """Call ``last()`` before such forks when everything is closed, where somebody sees to them.

    For libraries that register handlers of their own, which must find everything closed.
    """
    if _seeing is not None and seen_to():
        _seeing.add(last)
