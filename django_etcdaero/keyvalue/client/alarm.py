"""What ends once, and tells those who count on it."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Alarm:
    """A lease, a place in a queue, an object under a lease: what ends every wait that is for its sake."""

    def __init__(self) -> None:
        self._mutex = threading.RLock()
        """Guards what follows, and the state of the class that is one."""
        self._listeners: list[Callable[[], object]] | None = []

    def subscribe(self, listener: Callable[[], object]) -> None:
        """Call ``listener()`` once, from the thread that finds out, when it ends in any way; now if it has ended.

        For the parts of the client: a listener must be quick and never raise.
        """
        with self._mutex:
            if self._listeners is not None:
                self._listeners.append(listener)
                return
        listener()

    def unsubscribe(self, listener: Callable[[], object]) -> None:
        """Take a listener off again, if it is there."""
        with self._mutex:
            if self._listeners and listener in self._listeners:
                self._listeners.remove(listener)

    def _ring(self) -> None:
        """Tell that it has ended. Without the mutex."""
        with self._mutex:
            listeners, self._listeners = self._listeners or [], None
        for listener in listeners:
            listener()
