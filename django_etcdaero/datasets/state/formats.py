"""Which forms of a version processes read, so that none is announced which one of them cannot read.

The root of a version says in which format it is written and with which codec. A process that reads datasets tells in
its registration up to which it reads (:mod:`.presence`); one that tells nothing runs older code and reads formats 1 and
2 and codec 1. A publisher writes the newest form that all registered processes of the dataset read, and that the alias
allows (``NEWEST_FORMAT``).

A process of older code that starts when a newer form is announced already cannot read it. The next refresh finds it
registered, and publishes the same rows in the form that it reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from django_etcdaero.datasets.layout import PROCESSES
from django_etcdaero.exceptions import PermissionDenied, ResponseError
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.system.clocks import elapsed
from django_etcdaero.system.processes import is_dead

from .stored_value import StoredValue

OLDEST_FORMAT: Final = 2
"""What every code reads."""
NEWEST_FORMAT: Final = 4
"""What this code reads and writes."""
LOOK_EVERY: Final = 10.0
"""Seconds for which a publisher goes by what it has read of the processes."""


class Forms(NamedTuple):
    """Up to which forms somebody reads, or something is written."""

    format: int
    codec: int


OLDEST: Final = Forms(OLDEST_FORMAT, 1)
READ: Final = Forms(NEWEST_FORMAT, 4)
"""What this code reads."""

FORMS: Final = {OLDEST_FORMAT: OLDEST, NEWEST_FORMAT: READ}
"""By what ``NEWEST_FORMAT`` of an alias may be."""


class Allowed(NamedTuple):
    """What may be written."""

    forms: Forms
    why: str = ""
    """Why it is not the newest; empty: it is."""

    @property
    def deltas(self) -> bool:
        """Whether a version may have deltas."""
        return self.forms.format >= NEWEST_FORMAT

    @property
    def by_fields(self) -> bool:
        """Whether blocks may be written field by field."""
        return self.forms.codec >= 3

    @property
    def deltas_by_fields(self) -> bool:
        """Whether deltas may be written field by field."""
        return self.forms.codec >= 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader(StoredValue):
    """What a registration tells of this."""

    schemas: dict[str, int]
    process: dict[str, Any] | None = None
    formats: dict[str, Any] | None = None


class _Reading(NamedTuple):
    """What one process reads."""

    who: str
    schemas: dict[str, int]
    forms: Forms


_looked: WeakKeyDictionary[KV, tuple[float, list[_Reading]]] = WeakKeyDictionary()
"""When a client has read the registrations, on the clock of durations, and what they told."""


def told() -> dict[str, int]:
    """Return what this process tells in its registration."""
    return READ._asdict()


def allowed(kv: KV, name: str, schema: int, *, newest: int = NEWEST_FORMAT) -> Allowed:
    """Return what may be written of a dataset; ``newest`` is what the alias allows. Raises what the store raises."""
    most = FORMS[newest]
    why = "" if most == READ else f"OPTIONS has NEWEST_FORMAT = {newest}"
    if most == OLDEST:
        return Allowed(most, why)
    forms = most
    try:
        readings = _readings(kv)
    except PermissionDenied as error:
        return Allowed(OLDEST, f"what processes read cannot be read: {error}")
    for reading in readings:
        if reading.schemas.get(name) != schema:
            continue
        lowest = Forms(min(forms.format, reading.forms.format), min(forms.codec, reading.forms.codec))
        if lowest != forms:
            forms, why = lowest, f"{reading.who} reads up to format {lowest.format} and codec {lowest.codec}"
    return Allowed(forms, why)


def _readings(kv: KV) -> list[_Reading]:
    seen = _looked.get(kv)
    if seen is not None and elapsed() - seen[0] < LOOK_EVERY:
        return seen[1]
    asked = elapsed()
    found = list(_read(kv))
    _looked[kv] = asked, found
    return found


def _read(kv: KV) -> Iterable[_Reading]:
    for item in kv.range(PROCESSES, prefix=True).kvs:
        if b"/" in item.key[len(PROCESSES) :]:
            continue
        try:
            reader = _Reader.decode(item.value)
        except ResponseError:  # who it is cannot be told; the status leaves it out as well
            continue
        if not is_dead(reader.process):
            yield _Reading(f"{reader.host}/{reader.pid}", reader.schemas, _forms(reader.formats))


def _forms(stored: dict[str, Any] | None) -> Forms:
    told = stored or {}
    given = [told.get(name, least) for name, least in OLDEST._asdict().items()]
    return Forms(*(number if type(number) is int else least for number, least in zip(given, OLDEST, strict=True)))
