"""An event that calls who listens, besides waking who waits."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Settlement(threading.Event):
    """Set once and for all."""

    def __init__(self) -> None:
        super().__init__()
        self._mutex = threading.Lock()
        self._listener: Callable[[], object] | None = None

    def set(self) -> None:
        """Wake all threads that wait and call the listener."""
        super().set()
        with self._mutex:
            listener, self._listener = self._listener, None
        if listener is not None:
            listener()

    def listen(self, listener: Callable[[], object]) -> None:
        """Call ``listener()`` from the thread that sets it, now if it is set. A new listener replaces the last one."""
        with self._mutex:
            self._listener = listener
        if self.is_set():
            self.set()
