"""What is told about the leadership of an election."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from django_etcdaero.keyvalue.values import KeyValue


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads: the contender that is first in the queue."""

    key: bytes
    value: bytes
    """What the leader announces."""
    token: int
    """The fencing token, which is the key's create revision: greater than those of all leaders before."""
    revision: int
    """When the value was announced (the key's mod revision)."""
    lease: int

    @classmethod
    def read(cls, kv: KeyValue) -> Leader:
        """Read a contender's key."""
        return cls(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.lease)

    def same_as(self, other: Leader | None) -> bool:
        """Tell whether both are one and the same leadership, whatever was announced since."""
        return other is not None and (self.key, self.token) == (other.key, other.token)


@dataclass(frozen=True, slots=True)
class Elected:
    """The election's own candidate leads now."""

    leader: Leader


@dataclass(frozen=True, slots=True)
class Lost:
    """The election's own candidate led and does not any more; ``leader`` is what it was. Who leads now comes next."""

    leader: Leader


@dataclass(frozen=True, slots=True)
class Changed:
    """Somebody else leads now, or nobody (``None``)."""

    leader: Leader | None


@dataclass(frozen=True, slots=True)
class Proclaimed:
    """Who leads goes on to lead and announces another value."""

    leader: Leader


ElectionEvent: TypeAlias = "Elected | Lost | Changed | Proclaimed"
