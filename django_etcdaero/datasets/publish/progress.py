"""How far a refresh is, for logs: a line now and then, with the rate and the time that is left."""

from __future__ import annotations

import logging
from typing import Final

from django_etcdaero.system.clocks import monotonic

from .source import About

logger = logging.getLogger("django_etcdaero.datasets")

EVERY: Final = 30.0
"""Seconds between two lines: a refresh that is through sooner logs none."""


class ProgressLog:
    """Logs how far a refresh of a dataset is, as a :data:`.source.Progress`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._phase = ""
        self._first = 0
        self._began = 0.0
        self._next = monotonic() + EVERY

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        now = monotonic()
        if phase != self._phase:
            self._phase, self._first, self._began = phase, done, now
        if now >= self._next:
            self._next = now + EVERY
            rate = (done - self._first) / max(now - self._began, 0.001)
            logger.info("dataset %s: %s: %s", self._name, phase, far(done, total, rate))


def far(done: int, total: int | None, rate: float) -> str:
    """Say how far it is: ``done`` of ``total`` rows, at ``rate`` rows a second."""
    if total is None or done > total:
        return f"{done:,} rows, {rate:,.0f} rows/s"
    about = "about " if isinstance(total, About) else ""
    left = f", about {(total - done) / rate:,.0f} s left" if rate > 0 else ""
    return f"{done:,} of {about}{total:,} rows, {rate:,.0f} rows/s{left}"
