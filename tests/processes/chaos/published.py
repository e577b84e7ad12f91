"""What was announced, as a watch in the test saw it, and what the readers must therefore have seen."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter, defaultdict
from typing import Any, NamedTuple

from django_etcdaero.datasets.layout import ANNOUNCEMENTS, dataset_of
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.keyvalue.values import Event, KeyValue
from tests.processes.chaos.site import ChaosSite


class Identity(NamedTuple):
    """Tells one version from all others."""

    version: int
    published_at: float


class Published:
    """Follows the announcements of both aliases from the beginning."""

    def __init__(self, site: ChaosSite) -> None:
        self._lock = threading.Lock()
        self.history: dict[str, list[Identity]] = defaultdict(list)
        """By dataset: all that was announced, in order."""
        self.rows: dict[tuple[str, Identity], int] = {}
        """How many each version has."""
        self.since: dict[str, float] = {}
        """When the last announcement was seen, of the clock that only goes forward."""
        self.gaps: list[str] = []
        self._watches = [
            site.client(alias).watch(ANNOUNCEMENTS, prefix=True, callback=self._take) for alias in ("servers", "files")
        ]

    def _take(self, item: Any) -> None:
        if isinstance(item, Event):
            self._add(item.kv)
        else:
            self.gaps.append(repr(item)[:200])
            for kv in item.kvs:
                self._add(kv)

    def _add(self, kv: KeyValue) -> None:
        found = dataset_of(kv.key)
        assert found is not None
        announcement = Announcement.decode(kv.value)
        identity = Identity(announcement.version, announcement.published_at)
        with self._lock:
            self.history[found[0]].append(identity)
            self.rows[found[0], identity] = announcement.rows
            self.since[found[0]] = time.monotonic()

    def current(self, name: str) -> tuple[int, float] | None:
        """The version that is announced, and since when it is known here."""
        with self._lock:
            return (self.history[name][-1].version, self.since[name]) if self.history[name] else None

    def close(self) -> None:
        for watch in self._watches:
            watch.cancel()


def check_reader(
    name: str, seen: list[dict[str, Any]], published: Published, rolled_back: Counter[tuple[str, int]]
) -> None:
    """A reader has followed what was announced: nothing else, in its order, and back only after a rollback."""
    by_dataset: dict[str, list[Identity]] = defaultdict(list)
    for line in seen:
        identity = Identity(line["version"], line["published_at"])
        rows = published.rows.get((line["name"], identity))
        assert rows in (None, line["rows"]), f"{line} has not {rows} rows"
        if by_dataset[line["name"]][-1:] != [identity]:
            by_dataset[line["name"]].append(identity)
    for dataset, versions in by_dataset.items():
        where = f"{dataset} in the reader {name}"
        announced = published.history[dataset]
        unknown = set(versions) - set(announced)
        assert not unknown, f"{where}: never announced: {sorted(unknown)}"
        back = Counter(new.version for old, new in itertools.pairwise(versions) if new.version < old.version)
        for version, times in back.items():
            assert times <= rolled_back[dataset, version], f"{where}: back to {version} without a rollback"
        if not published.gaps:
            rest = iter(announced)
            for version in versions:
                assert version in rest, f"{where}: {version} was not announced after what it held before"


def check_numbers(seen: list[dict[str, Any]], loads: list[dict[str, Any]]) -> None:
    """Each version has one number, everywhere and at all times: one that was loaded, and was not to be refused."""
    loaded = {(load["name"], load["number"]) for load in loads if not load["bad"]}
    numbers: dict[tuple[str, Identity], set[int]] = defaultdict(set)
    for line in seen:
        assert (line["name"], line["number"]) in loaded, f"never loaded: {line}"
        numbers[line["name"], Identity(line["version"], line["published_at"])].add(line["number"])
    mixed = {json.dumps(version): found for version, found in numbers.items() if len(found) > 1}
    assert not mixed, f"versions with more than one number: {mixed}"
