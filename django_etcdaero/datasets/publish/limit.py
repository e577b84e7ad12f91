"""Limits of time for a load, which cannot be interrupted: when the time is over, somebody else is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, Self

from django_etcdaero.datasets.declared import Declared
from django_etcdaero.system.conditions import Flag
from django_etcdaero.system.threads import Background

PERIODS: Final = 2
"""How many periods a load may take by default."""
LEAST: Final = timedelta(seconds=30)
"""What it may take by default, however short the period is."""
WITHOUT_PERIOD: Final = timedelta(hours=1)


def load_limit(dataset: Declared[Any, Any]) -> float | None:
    """Return ``load_timeout`` of a dataset in seconds; ``None``: no limit."""
    limit = dataset.load_timeout
    if limit == "auto":
        limit = WITHOUT_PERIOD if dataset.refresh_every is None else max(LEAST, PERIODS * dataset.refresh_every)
    return None if limit is None else limit.total_seconds()


class TimeLimit:
    """A block that may take ``seconds`` (``None``: as long as it likes).

    When half of that is over ``on_half()`` is called, and when it takes longer ``on_over()``, in a thread of its own,
    while the block goes on. The end of the block waits for the end of ``on_over()``, so what follows the block finds
    all that it did.
    """

    def __init__(
        self,
        seconds: float | None,
        on_over: Callable[[], object],
        *,
        on_half: Callable[[], object] = lambda: None,
        name: str,
    ) -> None:
        self._seconds = seconds
        self._on_over = on_over
        self._on_half = on_half
        self._mutex = threading.Lock()
        self._ended = Flag()
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
        half = (self._seconds or 0.0) / 2
        if self._ended.wait(half):
            return
        self._on_half()
        if self._ended.wait(half):
            return
        with self._mutex:
            if self._ended.is_set():
                return
            self._over = True
        self._on_over()
