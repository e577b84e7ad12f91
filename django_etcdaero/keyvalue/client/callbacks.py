"""The threads in which a client calls functions of its users."""

from __future__ import annotations

from .background import Worker


class CallbackThreads(Worker):
    """A thread for what watches and observations deliver, and another one for the news that something is lost.

    Who lost a lock has to hear of it even while a callback of a watch takes its time. Each starts when it is needed.
    """

    def __init__(self) -> None:
        super().__init__("etcdaero-dispatcher")
        self.losses = Worker("etcdaero-losses")
        """Calls what was given to ``on_lost``."""

    def stop(self, *, timeout: float) -> None:
        """Stop both, waiting for each at most ``timeout`` seconds."""
        super().stop(timeout=timeout)
        self.losses.stop(timeout=timeout)
