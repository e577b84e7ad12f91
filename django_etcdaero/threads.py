"""Background threads that survive being interrupted while they are started or waited for.

A signal handler that raises (Ctrl-C, a SIGTERM that is turned into ``SystemExit``) may do so between the making of a
thread and its start. Such a thread never runs, and ``threading`` refuses to join it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


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
        """Start the thread unless it runs. Callers see to it that no two of them do this at once."""
        if not self.alive:
            self._thread = threading.Thread(target=self._target, name=self._name, daemon=True)
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
