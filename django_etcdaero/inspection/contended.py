"""What is contended for, and by whom."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from django_etcdaero.keyvalue.queue.holder import Holder
from django_etcdaero.keyvalue.queue.layout import label


class Kind(Enum):
    """What is contended for."""

    LOCK = "lock"
    SEMAPHORE = "semaphore"
    RWLOCK = "read/write lock"
    ELECTION = "election"


@dataclass(frozen=True, slots=True)
class Contended:
    """A lock of any kind or an election that somebody holds."""

    name: bytes
    kind: Kind
    queue: tuple[Holder, ...]
    """The holders and whoever waits, in the order of their turns."""
    held: int = 1
    """How many of the queue, the first ones, hold it."""
    limit: int | None = None
    """How many may hold a semaphore at once; ``None``: it is none, or that is not known."""

    @property
    def label(self) -> str:
        """The name as text, for messages."""
        return label(self.name)

    @property
    def holder(self) -> Holder:
        """Who holds the lock, or leads; of several who hold it the one who came first."""
        return self.queue[0]

    @property
    def holders(self) -> tuple[Holder, ...]:
        """Who holds it: a semaphore, and a read/write lock that is read, may have several holders."""
        return self.queue[: self.held]

    @property
    def waiters(self) -> tuple[Holder, ...]:
        """Who waits, in the order of their turns."""
        return self.queue[self.held :]
