"""Loads that are finished after their caller has gone on."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final

from django_etcdaero.system.conditions import Flag

from .context import as_here

logger = logging.getLogger("django_etcdaero.cache")

MAX_THREADS: Final = 8
"""Loads in the background at a time, in a process."""


class Background:
    """Runs functions in threads of their own, a few at a time. ``after`` is called in the thread when one has ended."""

    def __init__(self, after: Callable[[], object], *, size: int = MAX_THREADS) -> None:
        self._after = after
        self._size = size
        self._running: set[threading.Thread] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, function: Callable[[], Any], *, always: bool = False) -> Flag | None:
        """Start ``function`` and return what is set at its end; ``None`` if there are too many already.

        ``always``: however many there are. What it raises is logged.
        """
        if not always and len([thread for thread in tuple(self._running) if thread.is_alive()]) >= self._size:
            return None
        ended = Flag()
        here = as_here(function)

        def work() -> None:
            try:
                here()
            except Exception:
                logger.exception("a load in the background failed")
            finally:
                try:
                    self._after()
                finally:
                    self._running.discard(thread)
                    ended.set()

        thread = threading.Thread(target=work, name="etcdaero-cache-load", daemon=True)
        self._running.add(thread)
        try:
            thread.start()
        except RuntimeError:  # no thread to be had
            self._running.discard(thread)
            return None
        return ended

    def task(self, function: Callable[[], Coroutine[Any, Any, None]]) -> Flag | None:
        """Start the coroutine of ``function`` in the running event loop, as :meth:`run`; ``None`` if none runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return None
        ended = Flag()

        async def work() -> None:
            try:
                await function()
            except Exception:
                logger.exception("a load in the background failed")
            finally:
                ended.set()

        task = loop.create_task(work())
        self._tasks.add(task)  # the loop itself does not hold it
        task.add_done_callback(self._tasks.discard)
        return ended
