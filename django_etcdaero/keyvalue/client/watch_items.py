"""What watches deliver beside events."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from django_etcdaero.keyvalue.values import Event, KeyValue


class ResyncReason(enum.Enum):
    """Why events are missing."""

    COMPACTED = "compacted"
    RESET = "reset"
    OVERFLOW = "overflow"


@dataclass(frozen=True, slots=True)
class Resync:
    """Stands for the events that are missing: all keys of the watched range as of ``revision``, in key order."""

    reason: ResyncReason
    kvs: tuple[KeyValue, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Progress:
    """All events up to ``revision`` have been delivered. Only with ``progress_notify``."""

    revision: int


WatchItem: TypeAlias = Event | Resync | Progress
