"""Counts the uses of gRPC that are under way, so that a fork or the closing can wait for their end."""

from __future__ import annotations

import threading
import time

from django_etcdaero.exceptions import Cancelled, DeadlineExceeded


class Gate:
    """What every use of gRPC goes through. It can be closed for a while (callers wait) or shut for good (refused)."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._lock = threading.Lock()  # used directly where every call passes: a condition costs more
        self._changed = threading.Condition(self._lock)
        self._inside = 0
        self._open = True
        self.is_shut = False
        """True after :meth:`shut`. Read only; no property, because every call reads it."""

    def enter(self, deadline: float | None) -> None:
        """Go in; wait while the gate is closed, until ``deadline`` (of ``time.monotonic``, ``None``: no limit).

        Raises ``DeadlineExceeded``, and ``Cancelled`` when the gate is shut.
        """
        with self._lock:
            if self._open and not self.is_shut:
                self._inside += 1
                return
            if not self._open:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                if not self._changed.wait_for(lambda: self._open or self.is_shut, left):
                    raise self.late()
            self._go_in()

    def try_enter(self) -> bool:
        """Go in if the gate is open; return whether it is. Raises ``Cancelled`` when it is shut."""
        with self._changed:
            if self._open or self.is_shut:
                self._go_in()
            return self._open

    def late(self) -> DeadlineExceeded:
        """Return the error for a caller who has waited at a closed gate for as long as the call may take."""
        return DeadlineExceeded("the process was forking for as long as the call was allowed to take")

    def refused(self) -> Cancelled:
        """Return the error for a caller at a gate that is shut."""
        return Cancelled(f"the engine on {self._location} was closed")

    def _go_in(self) -> None:
        if self.is_shut:
            raise self.refused()
        self._inside += 1

    def leave(self) -> None:
        """Go out again."""
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and (self.is_shut or not self._open):
                self._changed.notify_all()

    def close(self) -> bool:
        """Let nobody in until :meth:`open`; return whether it was open."""
        with self._changed:
            was_open, self._open = self._open, False
            return was_open

    def open(self) -> None:
        """Let those in who wait."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def shut(self) -> bool:
        """Let nobody in any more; return whether it was this call that shut it."""
        with self._changed:
            first, self.is_shut = not self.is_shut, True
            self._changed.notify_all()
            return first

    @property
    def is_closed(self) -> bool:
        """True between :meth:`close` and :meth:`open`, and after :meth:`shut`."""
        return self.is_shut or not self._open

    def wait_empty(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds until nobody is inside; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: self._inside == 0, timeout)
