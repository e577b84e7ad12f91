"""What validators said, kept: beside each version in the history, and of the last loads that were refused.

It is for people. So what makes no sense here is left out and stands in nobody's way, and none of it grows without
bounds: few results, short texts, few loads.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django_etcdaero.datasets.layout import Layout
from django_etcdaero.datasets.validators import ValidatorResult
from django_etcdaero.exceptions import ResponseError
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.ops import put
from django_etcdaero.keyvalue.values import KeyValue, PutRequest
from django_etcdaero.system.error_text import printable

from .announcement import Announcement
from .stored_value import StoredValue, load_object

MOST_RESULTS = 30
"""Of one load."""
MOST_TEXT = 500
"""Characters of one text."""
MOST_FIGURES = 10
MOST_REFUSED = 5
"""Loads that are remembered."""
NO_PHASES: Mapping[str, float] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedLoad:
    """A load that was not published because a validator, or ``prepare()``, refused it."""

    at: float
    """When it was refused, seconds since the epoch."""
    host: str
    pid: int
    error: str
    results: tuple[ValidatorResult, ...] = ()
    """Of the validators that ran; the last one refused, unless it was ``prepare()``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer(StoredValue):
    """This process, as it signs what it writes."""


def history_value(
    announcement: Announcement,
    results: Iterable[ValidatorResult],
    phases: Mapping[str, float] = NO_PHASES,
    *,
    changes: bool = False,
    drift: int | None = None,
) -> bytes:
    """Return the value of an entry of the history: the announcement, what validators said, and the seconds of each
    phase of the refresh; whether it loaded changes only, and if not how many rows they had missed."""
    stored = load_object(announcement.encode(), "announcement")
    listed = _to_store(results)
    said = {"results": listed, "phases": {name: round(seconds, 6) for name, seconds in phases.items()}}
    kept: dict[str, Any] = {name: each for name, each in said.items() if each}
    if changes:
        kept["changes"] = True
    elif drift is not None:
        kept["drift"] = drift
    return json.dumps(stored | kept, sort_keys=True).encode()


def changes_in(item: KeyValue) -> tuple[bool, int | None]:
    """Return whether changes only were loaded for the version of an entry of the history, and else how many rows they
    had missed, if that is known."""
    try:
        stored = load_object(item.value, "announcement")
    except ResponseError:
        return False, None
    drift = stored.get("drift")
    return stored.get("changes") is True, drift if type(drift) is int and drift >= 0 else None


def phases_in(item: KeyValue) -> dict[str, float]:
    """Return how many seconds each phase of the refresh took that published the version of an entry of the history.

    Empty: whoever published it did not tell.
    """
    try:
        return _figures(load_object(item.value, "announcement").get("phases"))
    except ResponseError:
        return {}


def results_in(item: KeyValue) -> tuple[ValidatorResult, ...]:
    """Return what validators said of the version of an entry of the history."""
    try:
        return _results(load_object(item.value, "announcement").get("results"))
    except ResponseError:
        return ()


def refused_loads(kv: KV, layout: Layout) -> list[RefusedLoad]:
    """Return the last loads that were refused, the newest first. Raises what the store raises."""
    return _loads(kv.get(layout.last_refused))


def note_refused(kv: KV, layout: Layout, error: str, results: Iterable[ValidatorResult]) -> PutRequest:
    """Return the operation that adds a load to those that were refused. Raises what the store raises on reading."""
    writer = _Writer()
    load = RefusedLoad(
        at=time.time(), host=writer.host, pid=writer.pid, error=printable(error[:MOST_TEXT]), results=tuple(results)
    )
    before = refused_loads(kv, layout)[: MOST_REFUSED - 1]
    listed = [dataclasses.asdict(each) | {"results": _to_store(each.results)} for each in (load, *before)]
    return put(layout.last_refused, json.dumps({"loads": listed}, sort_keys=True))


def _to_store(results: Iterable[ValidatorResult]) -> list[dict[str, Any]]:
    cut = [
        dataclasses.replace(
            each, name=printable(each.name[:100]), text=printable(each.text[:MOST_TEXT]), figures=_figures(each.figures)
        )
        for each in list(results)[-MOST_RESULTS:]
    ]
    return [dataclasses.asdict(each) for each in cut]


def _loads(item: KeyValue | None) -> list[RefusedLoad]:
    try:
        stored = load_object(item.value, "list of refused loads").get("loads") if item is not None else None
    except ResponseError:
        return []
    found = []
    for each in stored if isinstance(stored, list) else ():
        match each:
            case {"at": int() | float() as at, "host": str() as host, "pid": int() as pid, "error": str() as error}:
                results = _results(each.get("results"))
                found.append(RefusedLoad(at=at, host=host, pid=pid, error=error, results=results))
    return found


def _results(stored: object) -> tuple[ValidatorResult, ...]:
    found: list[ValidatorResult] = []
    for each in stored if isinstance(stored, Sequence) and not isinstance(stored, str) else ():
        match each:
            case {"name": str() as name, "ok": bool() as ok, "text": str() as text}:
                figures, overridden = _figures(each.get("figures")), each.get("overridden") is True
                found.append(ValidatorResult(name=name, ok=ok, text=text, figures=figures, overridden=overridden))
    return tuple(found)


def _figures(stored: object) -> dict[str, float]:
    """Keep what is a number of JSON, whatever a project's validator says it has measured."""
    found: dict[str, float] = {}
    for name, number in stored.items() if isinstance(stored, dict) else ():
        if isinstance(name, str) and type(number) in (int, float) and abs(number) < 1e300 and len(found) < MOST_FIGURES:
            found[name[:100]] = number
    return found
