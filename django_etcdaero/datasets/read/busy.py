"""What a reader does for one dataset just now: told by its status, and logged when it takes long."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .live import LiveDataset, live_state
from .live_state import STUCK_AFTER, Work

logger = logging.getLogger("django_etcdaero.datasets")


class Busy:
    """For one thing that is done at a time; :attr:`stuck` and :meth:`tell_if_stuck` are for any thread."""

    def __init__(self, dataset: LiveDataset[Any, Any]) -> None:
        self._dataset = dataset
        self._live = live_state(dataset)
        self._told: Work | None = None

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Let the status say what is being done, for the case that it takes long."""
        work = self._live.work = Work.begin(what)
        try:
            yield
        finally:
            if self._live.work is work:  # not that of a reader that was started meanwhile
                self._live.work = None

    @property
    def stuck(self) -> Work | None:
        """What the reader has been doing for this dataset for long, if anything."""
        return self._live.stuck

    def tell_if_stuck(self) -> None:
        """Log, once, what the reader has been doing for this dataset for long."""
        stuck = self._live.stuck
        if stuck is not None and stuck != self._told:
            self._told = stuck
            logger.warning(
                "dataset %s: %s is under way for more than %g s", self._dataset.name, stuck.what, STUCK_AFTER
            )
