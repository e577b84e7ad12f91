"""The time of the server: seconds since 2010-01-01, which is how Aerospike counts expiry."""

from __future__ import annotations

import time

EPOCH = 1_262_304_000
"""2010-01-01T00:00:00Z in Unix seconds."""


class Clock:
    """The real time until a test stops it; then only :meth:`advance` moves it.

    The client computes what is left of a record's time with its own clock, so expiry times are put on the wire such
    that the difference comes out right (:meth:`for_client`).
    """

    def __init__(self) -> None:
        self._stopped: float | None = None

    def now(self) -> float:
        return time.time() - EPOCH if self._stopped is None else self._stopped

    def stop(self) -> None:
        """Stand still, at the start of a second."""
        self._stopped = float(int(self.now()))

    def advance(self, seconds: float) -> None:
        assert self._stopped is not None, "stop the clock first"
        self._stopped += seconds

    def settle(self, seconds: float) -> None:
        """Wait for the next second of the real time if the current one ends within ``seconds``.

        For answers with expiry times while the clock stands still: the client would count them in the next second.
        """
        left = 1 - time.time() % 1
        if self._stopped is not None and left < seconds:
            time.sleep(left)

    def for_client(self, void_time: int) -> int:
        """Return what to send as a record's expiry; 0: never."""
        if void_time == 0 or self._stopped is None:
            return void_time
        return int(time.time()) - EPOCH + void_time - int(self._stopped)
