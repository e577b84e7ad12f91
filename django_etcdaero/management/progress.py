"""The progress of a refresh on a terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

from .describe import moment


class ProgressBar:
    """Shows the phases of a refresh on a terminal, one bar after the other."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._phase = ""
        self._bar: tqdm[Any] | None = None

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        if phase != self._phase or self._bar is None:
            self.close()
            self._phase = phase
            # A source may be silent to its end: then the beginning tells more than a clock that stands still.
            self._bar = tqdm(
                desc=f"{self._name}: {phase}",
                total=total,
                leave=False,
                file=sys.stderr,
                unit_scale=True,
                unit=" rows",
                bar_format=f"{{desc}}: {{n:,}} rows since {moment(time.time())}" if total is None else None,
            )
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        if done == total:
            self.close()  # what is logged next must not stand beside it

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
