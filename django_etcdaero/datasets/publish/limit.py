"""A limit of time for something that cannot be interrupted: when it is over, somebody else is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self

from django_etcdaero.system.threads import Background


class TimeLimit:
    """A block that may take ``seconds`` (``None``: as long as it likes).

    When it takes longer ``on_over()`` is called, in a thread of its own, while the block goes on. The end of the block
    waits for the end of that call, so what follows the block finds all that it did.
    """

    def __init__(self, seconds: float | None, on_over: Callable[[], object], *, name: str) -> None:
        self._seconds = seconds
        self._on_over = on_over
        self._mutex = threading.Lock()
        self._ended = threading.Event()
        self._over = False
        self._thread = Background(self._watch, name=name)

    @property
    def over(self) -> bool:
        """Whether the block took, or takes, longer."""
        return self._over

    def __enter__(self) -> Self:
        if self._seconds is not None:
            self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._mutex:
            self._ended.set()
        if self._over:
            self._thread.join(threading.TIMEOUT_MAX)

    def _watch(self) -> None:
        if self._ended.wait(self._seconds):
            return
        with self._mutex:
            if self._ended.is_set():
                return
            self._over = True
        self._on_over()
