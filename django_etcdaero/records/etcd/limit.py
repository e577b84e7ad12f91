"""How long a call that is made of several may take."""

from __future__ import annotations

from django_etcdaero.exceptions import DeadlineExceeded
from django_etcdaero.records import arguments
from django_etcdaero.system.clocks import monotonic


class Limit:
    """The end of a call, as seconds that are left.

    ``timeout`` is what the caller gave; without it each part of a call on many records may take ``default`` seconds.
    """

    def __init__(self, timeout: float | None, default: float, location: str) -> None:
        arguments.check_timeout(timeout)
        self._renewed = default if timeout is None else None
        self._until = monotonic() + (default if timeout is None else timeout)
        self._location = location

    @property
    def left(self) -> float:
        """Seconds; 0: none."""
        return max(0.0, self._until - monotonic())

    def begin_part(self) -> None:
        """Let another part of the call begin. Raises ``DeadlineExceeded``."""
        if self._renewed is not None:
            self._until = monotonic() + self._renewed
        self.check()

    def check(self, reason: Exception | None = None) -> None:
        """Raise ``DeadlineExceeded``, because of ``reason``, when no time is left for another try."""
        if not self.left:
            text = f": {reason}" if reason else ""
            raise DeadlineExceeded(f"{self._location}: the time allowed ran out between two steps of the call{text}")
