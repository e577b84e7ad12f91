"""Channels through whose calls an exception from outside has gone: no call is made on them any more.

They are not closed at once, because other threads have calls under way on them that may well be answered. And they are
closed in a thread of their own: an exception may have left calls behind whose end gRPC would wait for without an end.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Bell
from django_etcdaero.system.threads import Background

from .member import MemberClient

_LIFE = 60.0
"""Seconds after which the calls that were under way have ended, but for some that take very long."""


class InterruptedChannels:
    """Owner of the thread ``etcdaero-interrupted``, which runs from the first of them until :meth:`stop`."""

    def __init__(self, leave: Callable[[MemberClient], object], *, life: float = _LIFE) -> None:
        """``leave(member)`` is called in the thread, to move what uses the channel for long. ``life``: see above."""
        self._leave = leave
        self._life = life
        self._new: deque[MemberClient] = deque()
        self._left: deque[tuple[float, MemberClient]] = deque()
        self._lock = threading.Lock()
        self._bell = Bell()
        self._thread = Background(self._run, name="etcdaero-interrupted")
        self._stopping = False

    def add(self, member: MemberClient) -> None:
        """Have ``member`` left by all, and closed later."""
        self._new.append(member)
        self._bell.ring()
        with self._lock:
            self._thread.start()

    def close(self, timeout: float) -> None:
        """Close all of them, within ``timeout`` seconds; what hangs is left behind. For forks, and the end."""
        members = [*self._new, *(member for _, member in self._left)]
        self._new.clear()
        self._left.clear()
        threads = [_closing(member) for member in members]
        limit = monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, limit - monotonic()))

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._bell.ring()

    def _run(self) -> None:
        while not self._stopping:
            self._bell.wait_for(lambda: self._stopping or self._new, self._seconds_until_due())
            with suppress(IndexError):  # closed meanwhile
                while self._new:
                    member = self._new.popleft()
                    self._left.append((monotonic() + self._life, member))
                    self._leave(member)
                while self._left and self._left[0][0] <= monotonic():
                    _closing(self._left.popleft()[1])

    def _seconds_until_due(self) -> float | None:
        with suppress(IndexError):
            return self._left[0][0] - monotonic()
        return None


def _closing(member: MemberClient) -> Background:
    thread = Background(member.close, name="etcdaero-closing")
    thread.start()
    return thread
