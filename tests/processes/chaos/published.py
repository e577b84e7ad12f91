"""What was announced and pinned, as watches in the test saw it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from django_etcdaero.datasets.layout import ANNOUNCEMENTS, dataset_of
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.stored_state import Pin
from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue.client.watch import Watch
from django_etcdaero.keyvalue.values import Event, KeyValue
from tests.processes.chaos.checking import Announced, Pinned
from tests.processes.chaos.site import GUARDED, NAMES, ChaosSite, alias_of

Noted = TypeVar("Noted", Announced, Pinned)


class Published:
    """Follows the announcements and pins of both aliases from the beginning.

    A store that is wiped or restored begins a new era, as every store does at first: what is noted of it is what it
    knows when it begins, and then all that changes.
    """

    def __init__(self, site: ChaosSite) -> None:
        self._site = site
        self._lock = threading.Lock()
        self.history: dict[str, list[Announced]] = defaultdict(list)
        """By dataset: all that was announced, in order."""
        self.pins: dict[str, list[Pinned]] = defaultdict(list)
        self.since: dict[str, float] = {}
        """When the last announcement was seen, of the clock that only goes forward."""
        self.gaps: list[str] = []
        self._eras: dict[str, int] = dict.fromkeys(NAMES, -1)
        self._watches: dict[str, list[Watch[Any]]] = {}
        for alias in NAMES:
            assert self.begin(alias)

    # eras -------------------------------------------------------------------------------------------------------------

    def begin(self, alias: str) -> bool:
        """Note what a store knows, and from then on what changes; return whether it could be reached."""
        kv, era = self._site.client(alias), self._eras[alias] + 1
        guarded = self._guarded(alias)
        try:
            known = kv.range(ANNOUNCEMENTS, prefix=True)
            # What is pinned is as old as that: nobody else reaches the store yet.
            pins = {name: kv.get(self._site.layout_of(name).pin) for name in guarded}
        except EtcdAeroError:
            return False
        self._eras[alias] = era
        for each in known.kvs:
            self._announced(era, each)
        for name, pin in pins.items():
            if pin is not None:
                self._pinned(era, name, pin)
        since = known.revision + 1
        take = partial(self._take, partial(self._announced, era))
        self._watches[alias] = [kv.watch(ANNOUNCEMENTS, prefix=True, callback=take, start_revision=since)]
        for name in guarded:
            take = partial(self._take, partial(self._pinned, era, name))
            pin_key = self._site.layout_of(name).pin
            self._watches[alias].append(kv.watch(pin_key, callback=take, start_revision=since))
        return True

    def has_seen_all(self, alias: str) -> bool:
        """Tell whether all has been noted that the store knows now."""
        kv, era = self._site.client(alias), self._eras[alias]
        with contextlib.suppress(EtcdAeroError):
            known = kv.range(ANNOUNCEMENTS, prefix=True).kvs
            pins = {name: kv.get(self._site.layout_of(name).pin) for name in self._guarded(alias)}
            with self._lock:
                last = {name: self._of(era, all_) for name, all_ in self.history.items()}
                held = {name: self._of(era, self.pins[name]) for name in pins}
            announced = all(
                [each.revision for each in last.get(_name_of(kv), [])[-1:]] == [kv.mod_revision] for kv in known
            )
            # Of a pin that was taken away only that is known: it may never have been there.
            return announced and all(
                [each.revision for each in held[name][-1:]] == [pin.mod_revision]
                if pin is not None
                else [each.version for each in held[name][-1:]] in ([], [None])
                for name, pin in pins.items()
            )
        return False

    def end(self, alias: str) -> None:
        """Look no further: the store is about to be lost."""
        for watch in self._watches.pop(alias):
            watch.cancel()
        with self._lock:
            for name in list(self.since):
                if alias_of(name) == alias:
                    del self.since[name]

    def close(self) -> None:
        for watches in self._watches.values():
            for watch in watches:
                watch.cancel()

    # what is told -----------------------------------------------------------------------------------------------------

    @staticmethod
    def _of(era: int, noted: Iterable[Noted]) -> list[Noted]:
        return [each for each in noted if each.era == era]

    @staticmethod
    def _guarded(alias: str) -> list[str]:
        return [name for name in GUARDED if alias_of(name) == alias]

    def _take(self, add: Callable[[KeyValue], None], item: Any) -> None:
        if isinstance(item, Event):
            add(item.kv)
        else:
            self.gaps.append(repr(item)[:200])
            for kv in item.kvs:
                add(kv)

    def _announced(self, era: int, kv: KeyValue) -> None:
        told = Announcement.decode(kv.value)
        name = _name_of(kv)
        with self._lock:
            self.history[name].append(
                Announced(
                    revision=kv.mod_revision,
                    version=told.version,
                    published_at=told.published_at,
                    load_started=told.load_started,
                    root=told.root,
                    rows=told.rows,
                    publisher=f"{told.host}/{told.pid}",
                    era=era,
                )
            )
            self.since[name] = time.monotonic()

    def _pinned(self, era: int, name: str, kv: KeyValue) -> None:
        version = Pin.decode(kv.value).version if kv.value else None  # a key that was deleted has no value
        with self._lock:
            self.pins[name].append(Pinned(kv.mod_revision, version, era))

    def pinned(self, name: str) -> bool:
        """Tell whether a dataset is pinned, as far as it is known here."""
        with self._lock:
            of_now = self._of(self._eras[alias_of(name)], self.pins[name])
            return bool(of_now) and of_now[-1].version is not None

    def current(self, name: str) -> tuple[int, float] | None:
        """The version that is announced, and since when it is known here; nothing is, in a store that was emptied."""
        with self._lock:
            return (self.history[name][-1].version, self.since[name]) if name in self.since else None


def _name_of(kv: KeyValue) -> str:
    found = dataset_of(kv.key)
    assert found is not None
    return found[0]
