"""One search as the page and the JSON need it: checked parameters, the answer, and who gave it from which version."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from .datasets import Cities
from .search import CountryChoice, Match

MAX_QUERY = 100
MAX_LIMIT = 100
DEFAULT_LIMIT = 20

Json: TypeAlias = dict[str, Any]


class BadParameter(ValueError):
    """A parameter of the request is wrong; the message names it and says what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Which version answered, in which process. Times are seconds since the epoch, durations seconds."""

    version: int
    rows: int
    published_at: float
    age: float
    """Since the database was last read successfully, or, while that is not known, since the publication."""
    state: str
    pid: int
    lookup_us: float
    """Microseconds that the search itself took."""

    def json(self) -> Json:
        """Return it for JSON, the time in ISO 8601."""
        return {
            "version": self.version,
            "rows": self.rows,
            "published_at": datetime.fromtimestamp(self.published_at, UTC).isoformat(timespec="milliseconds"),
            "age_seconds": round(self.age, 1),
            "state": self.state,
            "pid": self.pid,
            "lookup_us": round(self.lookup_us, 1),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a search found."""

    query: str
    country: str
    limit: int
    matches: list[Match]
    more: bool
    """There are more matches than ``limit``."""
    countries: Mapping[str, CountryChoice]
    served: Served


def find(parameters: Mapping[str, str]) -> Answer:
    """Search with the parameters ``q``, ``country`` and ``limit`` of a request.

    Raises :class:`BadParameter`, ``DatasetNotReady``, ``DatasetStale``.
    """
    snapshot = Cities.live.snapshot()  # one version for the whole answer, whatever is published meanwhile
    index = snapshot.index
    query, limit = parameters.get("q", ""), _limit(parameters.get("limit", ""))
    if len(query) > MAX_QUERY:
        raise BadParameter(f"q: at most {MAX_QUERY} characters, not {len(query)}")
    country = parameters.get("country", "").upper()
    if country and country not in index.countries:
        raise BadParameter(f"country: {country[:20]!r} is not the two-letter code of a country that has cities here")
    started = time.perf_counter_ns()
    matches = index.search(query, country=country, limit=limit + 1)
    nanoseconds = time.perf_counter_ns() - started
    return Answer(
        query=query,
        country=country,
        limit=limit,
        matches=matches[:limit],
        more=len(matches) > limit,
        countries=index.countries,
        served=_served(snapshot, nanoseconds / 1000),
    )


def find_one(key: str) -> tuple[Match | None, Served]:
    """Look one city up by its id; ``None`` when there is no such city. Raises ``DatasetNotReady``, ``DatasetStale``."""
    snapshot = Cities.live.snapshot()
    started = time.perf_counter_ns()
    row = snapshot.get(key)
    nanoseconds = time.perf_counter_ns() - started
    return None if row is None else Match(key, row, None), _served(snapshot, nanoseconds / 1000)


def city_json(match: Match) -> Json:
    """Return a city as the JSON shows it."""
    row = match.row
    return {
        "id": match.key,
        "name": row["name"],
        "ascii_name": row["ascii_name"],
        "alternate_name": match.alternate_name,
        "country": {"code": row["country"], "name": row["country_name"], "flag": row["flag"]},
        "population": row["population"],
        "latitude": row["latitude"],
        "longitude": row["longitude"],
        "coordinates": coordinates(row["latitude"], row["longitude"]),
        "timezone": row["timezone"],
        "local_time": local_time(row["timezone"]),
    }


def coordinates(latitude: float, longitude: float) -> str:
    """Return a place as people write it: ``52.52° N, 13.41° E``."""
    north, east = "N" if latitude >= 0 else "S", "E" if longitude >= 0 else "W"
    return f"{abs(latitude):.2f}° {north}, {abs(longitude):.2f}° {east}"


def local_time(timezone: str) -> str | None:
    """Return the time of day there as ``14:05``; ``None`` when this machine does not know the time zone."""
    zone = _zone(timezone)
    return None if zone is None else datetime.now(zone).strftime("%H:%M")


@cache
def _zone(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return None


def _limit(text: str) -> int:
    if not text:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MAX_LIMIT):
        raise BadParameter(f"limit: a whole number from 1 to {MAX_LIMIT}, not {text[:20]!r}")
    return int(text)


def _served(snapshot: Any, lookup_us: float) -> Served:
    status = Cities.live.status()
    age = max(0.0, time.time() - snapshot.published_at) if status.age is None else status.age
    return Served(
        version=snapshot.version,
        rows=len(snapshot),
        published_at=snapshot.published_at,
        age=age,
        state=str(status.state),
        pid=os.getpid(),
        lookup_us=lookup_us,
    )
