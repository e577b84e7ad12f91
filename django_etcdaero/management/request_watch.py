"""One watch for each alias, which tells the refresh service of requests and of locks that became free.

It follows all keys of the datasets: of few of them anything changes between two loads, and a process that refreshes is
one of few.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import partial
from typing import Any, Protocol

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.layout import DATASETS
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.keyvalue.client.feed import Resync, WatchItem
from django_etcdaero.keyvalue.client.watch import Watch
from django_etcdaero.keyvalue.values import Event, EventType


class Woken(Protocol):
    """Who is told. Called by threads of the clients, so it must be quick."""

    def wake(self, name: str) -> None:
        """Somebody asks for a load."""

    def unlock(self, name: str) -> None:
        """A contender for the dataset's lock is gone."""

    def wake_alias(self, alias: str, *, but: str | None = None) -> None:
        """Anything may have happened to the datasets of an alias, but for one."""


class RequestWatch:
    """The watches for ``datasets``; each is started by the first :meth:`follow`."""

    def __init__(self, datasets: Iterable[Dataset[Any, Any]], woken: Woken) -> None:
        self._bases = {(each.using, each.layout("").base): each.name for each in datasets}
        self._woken = woken
        self._mutex = threading.Lock()
        self._watches: dict[str, Watch[Event]] = {}
        self._starting: set[str] = set()

    def follow(self, dataset: Dataset[Any, Any], stores: Stores) -> None:
        """See to it that the dataset's alias is watched, unless another thread is about to; before looking at it.

        Raises what the store raises.
        """
        alias = dataset.using
        with self._mutex:
            watch = self._watches.get(alias)
            if alias in self._starting or (watch is not None and not watch.closed):
                return
            self._starting.add(alias)
        try:
            watch = stores.kv.watch(DATASETS, prefix=True, callback=partial(self._see, alias))
            with self._mutex:
                self._watches[alias] = watch
        finally:
            with self._mutex:
                self._starting.discard(alias)
        self._woken.wake_alias(alias, but=dataset.name)  # of what happened before the watch only a look can tell

    def _see(self, alias: str, item: WatchItem) -> None:
        if isinstance(item, Resync):
            self._woken.wake_alias(alias)
        elif isinstance(item, Event):
            self._event(alias, item)

    def _event(self, alias: str, event: Event) -> None:
        base, rest = _split(event.kv.key.decode(errors="replace"))
        name = self._bases.get((alias, base))
        if name is None:
            return
        if rest == "request" and event.type is EventType.PUT:
            self._woken.wake(name)
        elif rest.startswith("lock/") and event.type is EventType.DELETE:
            self._woken.unlock(name)


def _split(key: str) -> tuple[str, str]:
    """Return the base of a dataset's key (:class:`~django_etcdaero.datasets.layout.Layout`), and the rest of it."""
    parts = key.split("/", 3)
    return ("/".join(parts[:3]) + "/", parts[3]) if len(parts) == 4 else (key, "")
