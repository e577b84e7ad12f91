"""What is announced for the datasets of one alias, as a process sees it: one watch and one poll for all of them.

A look reads the announcements and the last loads of all datasets of the alias, each in one range: only those that have
changed since the look before, and now and then all of them. Between two looks the watch tells what changes. Looks that
fail are repeated later and later, up to the poll interval.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, TypeAlias

from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.host import Host
from django_etcdaero.datasets.layout import ANNOUNCEMENTS, Layout, dataset_of
from django_etcdaero.datasets.state.age import AgeMemory, Load
from django_etcdaero.datasets.state.announcement import Copy
from django_etcdaero.datasets.state.reading import (
    Announced,
    Loaded,
    announced,
    read_announcements,
    read_former,
    read_loads,
    read_state,
)
from django_etcdaero.datasets.state.sightings import sightings_of
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.keyvalue.client.watch import Resync, Watch
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.values import Event, EventType
from django_etcdaero.system.clocks import elapsed, monotonic

FIRST_RETRY = 0.5
"""Seconds before a look that failed is repeated; doubled each time up to the poll interval."""
FULL_EVERY = 10
"""Looks of which one reads everything, whatever the revisions say."""

Name: TypeAlias = tuple[str, int]
"""Name and schema of a dataset."""


class _Found(NamedTuple):
    """What older code has left of one dataset, or newer code put in its place."""

    announced: Copy | None
    loaded: Loaded


class AnnouncementView:
    """The announcements of ``alias``. Looks are made by one thread at a time; all else may be used by any.

    ``changed(name)`` is called when another announcement or load of that dataset is known, ``None``: of any.
    ``poll_interval``: seconds between two looks, with jitter.
    """

    def __init__(self, alias: str, host: Host, *, changed: Callable[[Name | None], None], poll_interval: float) -> None:
        self.alias = alias
        self.away: BaseException | None = None
        """Why the last look failed."""
        self.looks = 0
        """Looks that did not fail."""
        self.ages: dict[Name, AgeMemory] = {}
        """What each look tells about the last loads, of the datasets that have put something here."""
        self.looked_at = 0.0
        """When the last look began, on the monotonic clock."""
        self._host = host
        self._changed = changed
        self._poll_interval = poll_interval
        self._asked = True
        """Whether a look was asked for since the last one began."""
        self._everything = True
        """Whether the next look is to read everything."""
        self._next_at = 0.0
        self._failures = 0
        self._watch: Watch[Event] | None = None
        self._lock = threading.Lock()
        """Guards what follows."""
        self._known: dict[Name, Announced] = {}
        self._events: list[tuple[Name, int, Announced | None]] | None = None
        """What the watch has told since the look that is under way began: mod revision, and ``None`` for deleted."""
        self._loads: dict[Name, Loaded] = {}
        self._former: dict[Name, _Found] = {}
        """Of datasets of which something still stands where older code kept it."""
        self._revision = 0
        """Of the store, at the last look."""
        self._strange = 0
        """Keys among the announcements that are nobody's."""

    # --- what is known -----------------------------------------------------------------------------------------------

    def announced(self, name: Name) -> Copy | None:
        """Return what is announced for a dataset, with its revision."""
        with self._lock:
            found, former = self._known.get(name), self._former.get(name)
        moving = None if former is None else former.announced
        if moving is not None and (
            found is None or found.announcement is None or moving.mod_revision > found.mod_revision
        ):
            return moving
        if found is None or found.announcement is None:
            return None
        return Copy(mod_revision=found.mod_revision, announcement=found.announcement)

    def is_in_old_place(self, name: Name) -> bool:
        """Tell whether what is announced for a dataset stands where older code has put it."""
        with self._lock:
            found = self._known.get(name)
        announced = self.announced(name)
        return announced is not None and (found is None or found.mod_revision != announced.mod_revision)

    @property
    def newest(self) -> int:
        """Mod revision of the newest announcement that is known; 0: there is none."""
        with self._lock:
            return max((each.mod_revision for each in self._known.values()), default=0)

    @property
    def watching(self) -> bool:
        """Whether there is a watch, and it has not ended by itself."""
        return self._watch is not None and not self._watch.closed

    # --- looking -----------------------------------------------------------------------------------------------------

    @property
    def next_at(self) -> float:
        """When the next look is due, on the monotonic clock."""
        return 0.0 if self._asked else self._next_at

    def look_now(self, *, everything: bool = False) -> None:
        """Make the next look due at once; ``everything``: whatever is known already."""
        self._everything = self._everything or everything
        self._asked = True

    def look(self, datasets: Collection[Declared[Any, Any]]) -> None:
        """Read what has changed; ``datasets`` are those that matter. Never raises: see ``away``."""
        self._asked, self.looked_at = False, monotonic()
        everything, self._everything = self._everything or self.looks % FULL_EVERY == 0, False
        delay = self._poll_interval * random.uniform(0.85, 1.15)
        try:
            stores = self._host.stores(self.alias)
            self._see_to_watch(stores)
            layouts = [dataset.layout(stores.prefix) for dataset in datasets]
            changed = self._read(stores.kv, layouts, everything=everything)
        except BaseException as error:  # whatever it is, the next look must come
            self.away, self._everything = error, True
            backoff = FIRST_RETRY * 2 ** min(self._failures, 16) * random.uniform(0.8, 1.2)
            self._failures += 1
            self._next_at = monotonic() + min(delay, backoff)
            self._changed(None)
            return
        first = self.looks == 0 or self.away is not None
        self.away, self._failures = None, 0
        self.looks += 1
        self._next_at = monotonic() + delay
        for name in (None,) if first else changed:
            self._changed(name)

    def look_at(self, dataset: Declared[Any, Any]) -> None:
        """Read what is announced for one dataset. Raises what the store raises."""
        name = dataset.name, dataset.schema
        stores = self._host.stores(self.alias)
        asked = elapsed()
        state = read_state(stores.kv, dataset.layout(stores.prefix), believe_pin=False)
        loaded = Loaded(state.checked, state.checked_revision)
        with self._lock:
            known = self._known.get(name)
            if state.announcement_revision and (known is None or known.mod_revision < state.announcement_revision):
                self._known[name] = Announced(state.current, state.announcement_revision)
            self._loads[name] = loaded
            if state.former_revision or state.former_checked_revision:
                self._former[name] = _Found(state.announced, loaded)
        self._remember(stores.kv, name, loaded, asked=asked, answered=elapsed())
        self._changed(name)

    def close(self) -> None:
        """End the watch."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _see_to_watch(self, stores: Stores) -> None:
        if not self.watching:
            if self.away is not None:
                read_announcements(stores.kv, min_mod_revision=self._revision + 1)  # who may not read is refused, too
            self._watch = stores.kv.watch(ANNOUNCEMENTS, prefix=True, callback=self._told)

    def _read(self, kv: KV, layouts: Collection[Layout], *, everything: bool) -> set[Name]:
        """Read announcements and loads; return the datasets of which anything is new."""
        with self._lock:
            self._events = []
        since, asked = 0 if everything else self._revision + 1, elapsed()
        found = read_announcements(kv, min_mod_revision=since)
        if since and (
            found.revision < self._revision or found.keys != len(self._known.keys() | found.found) + self._strange
        ):  # another life of the store, or one was deleted
            since, found = 0, read_announcements(kv)
        loads = read_loads(kv, min_mod_revision=since)
        in_old_places = read_former(kv) if everything else self._former.keys()
        states = {
            (layout.name, layout.schema): read_state(kv, layout, believe_pin=False)
            for layout in layouts
            if (layout.name, layout.schema) in in_old_places
        }
        with self._lock:
            before: tuple[dict[Name, Any], ...] = self._known, self._loads, self._former
            self._known = dict(found.found) if since == 0 else self._known | found.found
            self._loads = dict(loads) if since == 0 else self._loads | loads
            self._former = {
                name: _Found(state.announced, Loaded(state.checked, state.checked_revision))
                for name, state in states.items()
                if state.former_revision or state.former_checked_revision
            }
            if since == 0:
                self._strange = found.keys - len(found.found)
            self._revision = found.revision
            for event in self._events:
                self._put(*event)
            self._events = None
            after: tuple[dict[Name, Any], ...] = self._known, self._loads, self._former
            counting = self._loads | {name: former.loaded for name, former in self._former.items()}
        answered = elapsed()
        for name in tuple(self.ages):
            self._remember(kv, name, counting.get(name, Loaded(None, 0)), asked=asked, answered=answered)
        return {
            name
            for one, other in zip(before, after, strict=True)
            for name in one.keys() | other.keys()
            if one.get(name) != other.get(name)
        }

    def _remember(self, kv: KV, name: Name, loaded: Loaded, *, asked: float, answered: float) -> None:
        memory, checked = self.ages.get(name), loaded.checked
        if memory is not None:
            memory.beside = sightings_of(kv, *name).loads
            load = None if checked is None else Load.of_checked(checked)
            memory.look(load, loaded.mod_revision, asked=asked, answered=answered)

    def _told(self, item: object) -> None:
        """Take an item of the watch."""
        if isinstance(item, Event):
            name = dataset_of(item.kv.key)
            if name is not None:
                event = (name, item.kv.mod_revision, announced(item.kv) if item.type is EventType.PUT else None)
                with self._lock:
                    if self._events is not None:
                        self._events.append(event)
                    self._put(*event)
                self._changed(name)
        elif isinstance(item, Resync):
            self.look_now(everything=True)  # events are missing
            self._changed(None)

    def _put(self, name: Name, mod_revision: int, new: Announced | None) -> None:
        known = self._known.get(name)
        if known is not None and known.mod_revision >= mod_revision:
            return
        if new is not None:
            self._known[name] = new
        elif known is not None:
            del self._known[name]
