"""Background threads and waits where signal handlers raise: Ctrl-C, a SIGTERM that is turned into ``SystemExit``.

A handler may raise between the making of a thread and its start. Such a thread never runs, and ``threading`` refuses to
join it. And Python runs handlers in the main thread between two of its instructions: a signal that arrives just before
the main thread blocks is only seen when it wakes up, which may be never. So it wakes up now and then here.

And at the end of the process no thread may be in the middle of starting: CPython 3.11.2 then ends with a segmentation
fault now and then (2 to 13 of 100 processes that ended right after a call to etcd; 3.11.7 does not).
"""

from __future__ import annotations

import asyncio
import atexit
import math
import os
import threading
from collections.abc import Callable

from .clocks import monotonic
from .conditions import NAP, Flag
from .interruption import interrupts


class _Starting:
    """Held while a thread of one process starts; ``over`` once the process ends."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.RLock()
        self.over = False


_starting = _Starting()


def _of_this_process() -> _Starting:
    """A thread that a fork has left behind may hold the lock for ever, and other hooks of the fork start threads."""
    global _starting
    if _starting.pid != os.getpid():
        _starting = _Starting()
    return _starting


@atexit.register
def _end() -> None:
    starting = _of_this_process()
    with starting.lock:
        starting.over = True


class _Thread(threading.Thread):
    """A thread of this package."""

    def start(self) -> None:
        try:
            super().start()
        except KeyError as error:
            # A signal handler raised while the thread was being started, and it runs already: CPython looks for it
            # among those that do not, to clean up, and so the exception of the handler would be lost.
            if error.__context__ is not None and interrupts(error.__context__):
                raise error.__context__ from None
            raise


def in_background() -> bool:
    """Tell whether this is a thread of this package: nobody waits for what it does."""
    return isinstance(threading.current_thread(), _Thread)


class Background:
    """One daemon thread, made when it is first needed."""

    def __init__(self, target: Callable[[], None], *, name: str) -> None:
        self._target = target
        self._name = name
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the thread unless it runs, or the process ends. Callers see to it that no two do this at once."""
        if self.alive:
            return
        starting = _of_this_process()
        with starting.lock:
            if not starting.over:
                self._thread = _Thread(target=self._target, name=self._name, daemon=True)
                self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait for its end at most ``timeout`` seconds; return whether nothing has to be waited for any more.

        That is so at once if it never ran, and inside the thread itself.
        """
        return self._thread is None or join(self._thread, timeout)


def join(thread: threading.Thread, timeout: float) -> bool:
    """Wait for the end of ``thread`` as :meth:`Background.join` does."""
    if thread is threading.current_thread() or not thread.is_alive():
        return True
    thread.join(timeout)
    return not thread.is_alive()


def wait(event: threading.Event | Flag, timeout: float) -> bool:
    """Wait until ``event`` is set, at most ``timeout`` seconds (may be infinite); return whether it is."""
    return _wait(lambda seconds: event.wait(seconds), timeout)


def wait_for(condition: threading.Condition, predicate: Callable[[], bool], timeout: float | None) -> bool:
    """Wait on ``condition``, which the caller holds, as its own ``wait_for`` does."""
    return _wait(lambda seconds: condition.wait_for(predicate, seconds), math.inf if timeout is None else timeout)


def _wait(nap: Callable[[float | None], bool], timeout: float) -> bool:
    if threading.current_thread() is not threading.main_thread():
        return nap(None if timeout == math.inf else timeout)
    limit = monotonic() + timeout
    while not nap(max(0.0, min(NAP, limit - monotonic()))):
        if monotonic() >= limit:
            return False
    return True


def in_event_loop() -> bool:
    """Tell whether an event loop runs in this thread, so that it must not block."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
