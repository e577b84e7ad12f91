"""What was announced and pinned, as watches in the test saw it."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from django_etcdaero.datasets.layout import ANNOUNCEMENTS, dataset_of
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.stored_state import Pin
from django_etcdaero.keyvalue.values import Event, KeyValue
from tests.processes.chaos.checking import Announced, Pinned
from tests.processes.chaos.site import GUARDED, NAMES, ChaosSite, alias_of


class Published:
    """Follows the announcements and pins of both aliases from the beginning."""

    def __init__(self, site: ChaosSite) -> None:
        self._lock = threading.Lock()
        self.history: dict[str, list[Announced]] = defaultdict(list)
        """By dataset: all that was announced, in order."""
        self.pins: dict[str, list[Pinned]] = defaultdict(list)
        self.since: dict[str, float] = {}
        """When the last announcement was seen, of the clock that only goes forward."""
        self.gaps: list[str] = []
        self._watches = [
            site.client(alias).watch(ANNOUNCEMENTS, prefix=True, callback=partial(self._take, self._announced))
            for alias in NAMES
        ]
        for name in GUARDED:
            take = partial(self._take, partial(self._pinned, name))
            self._watches.append(site.client(alias_of(name)).watch(site.layout_of(name).pin, callback=take))

    def _take(self, add: Callable[[KeyValue], None], item: Any) -> None:
        if isinstance(item, Event):
            add(item.kv)
        else:
            self.gaps.append(repr(item)[:200])
            for kv in item.kvs:
                add(kv)

    def _announced(self, kv: KeyValue) -> None:
        found = dataset_of(kv.key)
        assert found is not None
        told = Announcement.decode(kv.value)
        with self._lock:
            self.history[found[0]].append(
                Announced(
                    revision=kv.mod_revision,
                    version=told.version,
                    published_at=told.published_at,
                    load_started=told.load_started,
                    root=told.root,
                    rows=told.rows,
                    publisher=f"{told.host}/{told.pid}",
                )
            )
            self.since[found[0]] = time.monotonic()

    def _pinned(self, name: str, kv: KeyValue) -> None:
        version = Pin.decode(kv.value).version if kv.value else None  # a key that was deleted has no value
        with self._lock:
            self.pins[name].append(Pinned(kv.mod_revision, version))

    def current(self, name: str) -> tuple[int, float] | None:
        """The version that is announced, and since when it is known here."""
        with self._lock:
            return (self.history[name][-1].version, self.since[name]) if self.history[name] else None

    def close(self) -> None:
        for watch in self._watches:
            watch.cancel()
