"""When a dataset is to be loaded: a pure decision over what the coordination plane says.

A load is due when 0.9 periods have passed since the last successful one *began* (so that a cron job of the same period
never skips every other run), when that beginning lies in the future (a clock was wrong), when there never was one, or
when somebody asked after it began. After a failure the ``attempt`` key holds all nodes back, longer with each failure,
so that a broken source is not hammered by one node after the other.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from django_etcdaero.exceptions import ResponseError
from django_etcdaero.keyvalue.txn import get
from django_etcdaero.keyvalue.values import KeyValue, RangeResult

from .announcement import Announcement, known_fields
from .requests import LoadRequest

if TYPE_CHECKING:
    from django_etcdaero.datasets.layout import Layout
    from django_etcdaero.keyvalue.facade import KV

logger = logging.getLogger("django_etcdaero.datasets")

EARLY = 0.9
"""Fraction of the period after which a load is due."""
FIRST_BACKOFF = 5.0
"""Seconds to hold back after one failure; doubled with each further one."""
LONGEST_BACKOFF = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The last successful load. Times are seconds since the epoch."""

    id: str
    """Random; tells whether a transaction of unknown outcome was applied."""
    load_started: float
    load_seconds: float
    version: int
    request_revision: int
    """Revision of the newest request this load answers (0: none)."""
    host: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The last failed load."""

    at: float
    next_at: float
    failures: int
    host: str
    pid: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """An operator's hold on one version."""

    version: int
    at: float
    host: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """All that the coordination plane says about one dataset (and one schema), read in one step.

    The revisions are the mod revisions of the keys, 0 where the key is missing.
    """

    current: Announcement | None
    current_revision: int
    pin: Pin | None
    pin_revision: int
    checked: Checked | None
    checked_revision: int
    attempt: Attempt | None
    attempt_revision: int
    request: LoadRequest | None

    @property
    def pending(self) -> LoadRequest | None:
        """The request that no load has answered yet."""
        answered = self.checked.request_revision if self.checked else 0
        return self.request if self.request and self.request.mod_revision > answered else None


NOTHING = Line(
    current=None,
    current_revision=0,
    pin=None,
    pin_revision=0,
    checked=None,
    checked_revision=0,
    attempt=None,
    attempt_revision=0,
    request=None,
)
"""The line of a dataset of which nothing is stored."""

T = TypeVar("T", Announcement, Pin, Checked, Attempt)


def read_line(kv: KV, layout: Layout) -> Line:
    """Read the state of a dataset in one transaction.

    A value that makes no sense counts as absent, so that the next refresh puts a good one in its place. A pin does not:
    somebody wanted readers to stay where they are, so ``ResponseError`` is raised for it.
    """
    keys = (layout.announcement, layout.pin, layout.checked, layout.attempt, layout.request)
    found: list[KeyValue | None] = []
    for response in kv.txn().then(*(get(key) for key in keys)).commit().responses:
        assert isinstance(response, RangeResult)
        found.append(response.kvs[0] if response.kvs else None)
    current, pin, checked, attempt, request = found

    def parse(cls: type[T], kv: KeyValue | None) -> T | None:
        return None if kv is None else cls(**known_fields(cls, kv.value, cls.__name__.lower()))

    def believe(cls: type[T], kv: KeyValue | None) -> T | None:
        try:
            return parse(cls, kv)
        except ResponseError as error:
            logger.warning("%s is ignored: %s", layout.base, error)
            return None

    return Line(
        current=believe(Announcement, current),
        current_revision=current.mod_revision if current else 0,
        pin=parse(Pin, pin),
        pin_revision=pin.mod_revision if pin else 0,
        checked=believe(Checked, checked),
        checked_revision=checked.mod_revision if checked else 0,
        attempt=believe(Attempt, attempt),
        attempt_revision=attempt.mod_revision if attempt else 0,
        request=LoadRequest.read(request) if request else None,
    )


def encode(value: Pin | Checked | Attempt) -> bytes:
    """Return the value to store under the key of the same name."""
    return json.dumps(dataclasses.asdict(value), sort_keys=True).encode()


def next_due(line: Line, period: timedelta | None) -> float | None:
    """Return when the next scheduled load is due, seconds since the epoch; ``None``: only on request."""
    if period is None or line.checked is None:
        return None
    return line.checked.load_started + EARLY * period.total_seconds()


def is_due(line: Line, period: timedelta | None, *, now: float) -> bool:
    """Tell whether a load is due at ``now`` (seconds since the epoch), failures left aside."""
    if line.current is None or line.checked is None or line.pending is not None:
        return True
    if period is None:
        return False
    started = line.checked.load_started
    return started > now or now >= started + EARLY * period.total_seconds()


def held_back_until(line: Line, *, now: float) -> float | None:
    """Return until when the last failure forbids another load, or ``None``.

    A request of a person that is newer than the failure is not held back; a repair is (readers ask by themselves).
    """
    attempt = line.attempt
    if attempt is None or not attempt.at <= now < attempt.next_at:
        return None
    pending = line.pending
    if pending is not None and not pending.repair and pending.mod_revision > line.attempt_revision:
        return None
    return attempt.next_at


def backoff(failures: int, period: timedelta | None) -> float:
    """Return the seconds to hold back after so many failures in a row: never longer than the period itself."""
    delay: float = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (min(failures, 20) - 1))
    return delay if period is None else min(delay, period.total_seconds())
