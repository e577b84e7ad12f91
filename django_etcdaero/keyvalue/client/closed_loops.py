"""Tasks whose event loop was closed before they had ended: what they have begun in the store is given up for them.

Python tells nobody: such a task is not cancelled, never goes on, and lives for as long as anything refers to it, which
an answer that nobody will take may do. So it is looked for, now and then, whatever the task was waiting for.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .background import Worker, logger

_EVERY = 1.0
"""Seconds between two looks."""


class ClosedLoops:
    """Looks in the thread of a worker, while there are tasks to look after."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._lock = threading.Lock()
        self._looking = False
        self._tasks: dict[object, tuple[asyncio.AbstractEventLoop, Callable[[], object]]] = {}

    def __len__(self) -> int:
        """How many tasks are looked after."""
        return len(self._tasks)

    @contextmanager
    def looked_after(self, give_up: Callable[[], object]) -> Iterator[None]:
        """Have ``give_up()`` called, in the worker's thread, if the running event loop is closed in the block.

        It must be quick. Without an event loop nothing is done.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            yield
            return
        key = object()
        try:
            self._tasks[key] = (loop, give_up)
            with self._lock:
                first, self._looking = not self._looking, True
            if first:
                self._worker.submit(self._look, delay=_EVERY)
            yield
        finally:
            self._tasks.pop(key, None)

    def _look(self) -> float | None:
        for key, (loop, give_up) in tuple(self._tasks.items()):
            if loop.is_closed():
                self._tasks.pop(key, None)
                try:
                    give_up()
                except Exception:
                    logger.exception("what a task had begun whose event loop was closed could not be given up")
        with self._lock:
            self._looking = bool(self._tasks)
            return _EVERY if self._looking else None
