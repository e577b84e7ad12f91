"""Searching cities by the beginning of a name, in memory.

What can be found is put in the order of its importance once, in ``prepare()``; the place in that order is a small whole
number, so that "the most important first" is the order of numbers. Names are kept in one bucket for each pair of first
letters: a search bisects one bucket, and sorting many small lists never holds the interpreter for long while requests
are being answered.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from .folding import fold

ALTERNATE_NAME_SHARE = 20
"""A name in another language counts as if the city had this fraction of its inhabitants: so "san f" is San Francisco
and not Quito (San Francisco de Quito), and "münch" is Munich all the same."""

_AFTER_ALL_LETTERS = "\U0010ffff"


class CountryChoice(NamedTuple):
    """A country that has cities."""

    code: str
    name: str
    flag: str


class Match(NamedTuple):
    """A city found by a search."""

    key: str
    row: dict[str, Any]
    alternate_name: str | None
    """The name that matched when it is not the city's main one."""


class Bucket(NamedTuple):
    """Names with the same first two letters, sorted, and the place of each."""

    names: list[str]
    places: array[int]


class NameTable:
    """Names by their beginning, each with its place in the order of importance."""

    def __init__(self, entries: Iterable[tuple[str, int]]) -> None:
        """Build the table from ``(folded name, place)`` pairs in the order of their places."""
        pairs: dict[str, list[tuple[str, int]]] = {}
        by_letters: dict[str, list[int]] = {}
        for name, place in entries:
            pairs.setdefault(name[:2], []).append((name, place))
            by_letters.setdefault(name[0], []).append(place)
        self._buckets: dict[str, Bucket] = {}
        for letters, bucket in pairs.items():
            if len(letters) == 2:
                by_letters[letters] = [place for _, place in bucket]
            bucket.sort()
            self._buckets[letters] = Bucket([name for name, _ in bucket], array("L", [place for _, place in bucket]))
        self._by_letters = {letters: array("L", dict.fromkeys(places)) for letters, places in by_letters.items()}
        """Places, rising and each once, by the first letter and by the first two letters."""

    def exactly(self, name: str) -> Sequence[int]:
        """Return the places of ``name``, rising and each once."""
        bucket = self._buckets.get(name[:2])
        if bucket is None:
            return ()
        return sorted(set(bucket.places[bisect_left(bucket.names, name) : bisect_right(bucket.names, name)]))

    def beginning_with(self, prefix: str) -> Sequence[int]:
        """Return the places of the names that begin with ``prefix``, rising and each once."""
        if len(prefix) <= 2:
            return self._by_letters.get(prefix, ())
        bucket = self._buckets.get(prefix[:2])
        if bucket is None:
            return ()
        start = bisect_left(bucket.names, prefix)
        return sorted(set(bucket.places[start : bisect_left(bucket.names, prefix + _AFTER_ALL_LETTERS, start)]))


class CityIndex:
    """What ``prepare()`` builds of the rows of one version. Immutable."""

    def __init__(self, rows: Mapping[str, dict[str, Any]]) -> None:
        """Build the index of ``rows`` (as :func:`.datasets.row_of` makes them, by their key)."""
        self._rows = rows
        # Each city has two places: one for its main name and one, further down, for its other names.
        ordered = sorted(
            [(-float(row["population"]), row["name"], key, True) for key, row in rows.items()]
            + [(-row["population"] / ALTERNATE_NAME_SHARE, row["name"], key, False) for key, row in rows.items()]
        )
        self._keys = [key for _, _, key, _ in ordered]
        main = [place for place, entry in enumerate(ordered) if entry[3]]
        self._names = NameTable(
            (name, place)
            for place, (_, _, key, is_main) in enumerate(ordered)
            for name in (rows[key]["folded"][:1] if is_main else rows[key]["folded"][1:])
            if name
        )
        self._words = NameTable(
            (words, place) for place in main for words in _later_words(rows[self._keys[place]]["folded"][0])
        )
        self._by_country: dict[str, array[int]] = {"": array("L", main)}
        """The places of the main names, by the code of the country; ``""``: of all countries."""
        for place in main:
            self._by_country.setdefault(rows[self._keys[place]]["country"], array("L")).append(place)
        found = {
            row["country"]: CountryChoice(row["country"], row["country_name"], row["flag"]) for row in rows.values()
        }
        self.countries = dict(sorted(found.items(), key=lambda item: fold(item[1].name)))
        """The countries of the cities by their code, in the order of their names."""

    def search(self, query: str, *, country: str = "", limit: int) -> list[Match]:
        """Return at most ``limit`` cities for what somebody typed.

        First come cities called exactly so, then those with a name that begins so, then those with a later word that
        begins so, the most populous first in each group. An empty query finds all cities. ``country`` is a code, ``""``
        for all countries.
        """
        folded = fold(query)
        if folded:
            return [self._match(key, folded) for key in islice(self._candidates(folded, country), limit)]
        if query.strip():
            return []  # nothing but signs: no name has that
        keys = [self._keys[place] for place in self._by_country.get(country, ())[:limit]]
        return [Match(key, self._rows[key], None) for key in keys]

    def _candidates(self, folded: str, country: str) -> Iterator[str]:
        """Yield the keys of the cities found, each once."""
        keys, rows = self._keys, self._rows
        seen: set[str] = set()
        names, words = self._names, self._words
        for places in (names.exactly(folded), names.beginning_with(folded), words.beginning_with(folded)):
            for place in places:
                key = keys[place]
                if key not in seen and (not country or rows[key]["country"] == country):
                    seen.add(key)
                    yield key

    def _match(self, key: str, folded: str) -> Match:
        """Tell by which other name the city was found, if its main name does not explain it."""
        row = self._rows[key]
        main, *others = row["folded"]
        if not main.startswith(folded):
            found = [index for index, name in enumerate(others) if name.startswith(folded)]
            if found:
                best = min(found, key=lambda index: others[index] != folded)
                return Match(key, row, row["alternate_names"][best])
        return Match(key, row, None)


def _later_words(name: str) -> Iterator[str]:
    """Yield what follows each space of a folded name."""
    start = name.find(" ") + 1
    while start:
        yield name[start:]
        start = name.find(" ", start) + 1
