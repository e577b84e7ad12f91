"""The stores of each alias, opened once in a process, at their first use and in the process that uses them."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from . import conf, schemes
from .exceptions import EtcdAeroError
from .stores.address import is_split
from .stores.local import MemoryAddress
from .system import forks, uwsgi
from .system.threads import in_event_loop

if TYPE_CHECKING:
    from .conf import AliasSettings
    from .datasets.stores import Stores
    from .keyvalue.facade import KV
    from .records.store import RecordStore
    from .stores.address import Address

logger = logging.getLogger("django_etcdaero.runtime")


class Opened(NamedTuple):
    """Stores that were opened together."""

    alias: str | None
    """``None``: a record store that no alias has."""
    kv: KV | None
    """``None`` likewise."""
    records: RecordStore


def _close_client(client: KV) -> None:
    """Close a client; where an event loop runs, in which that is refused, in a thread that is waited for."""
    if not in_event_loop():
        client.close()
        return
    thread = threading.Thread(target=client.close, name="etcdaero-close")
    thread.start()
    thread.join()


class OpenStores:
    """The stores of this process. ``memory_only``: every alias is served from memory, whatever the settings say."""

    def __init__(self, *, memory_only: bool) -> None:
        self.memory_only = memory_only
        self._lock = threading.RLock()
        """Held while stores are opened."""
        self._opened: dict[str, Stores] = {}
        self._in_memory: set[str] = set()
        """The aliases that have had stores in memory."""
        self._hooks: list[Callable[[Opened], object]] = []
        self._records: dict[tuple[Address, float], RecordStore] = {}
        """Record stores that no alias has, by where they are and how long a call may take."""
        self.changes = 0
        """Raised whenever stores that were open are not any more."""

    def get(self, alias: str) -> Stores:
        """See :meth:`.datasets.host.Host.stores`."""
        found = self._opened.get(alias)
        if found is None:
            with self._lock:
                found = self._opened.get(alias)
                if found is None:
                    with forks.postponed():  # opening imports much
                        found = self._opened[alias] = _open(alias, memory_only=self.memory_only)
                    if self.memory_only:
                        self._in_memory.add(alias)
                    self._tell(Opened(alias, found.kv, found.records))
        return found

    def is_open(self, alias: str) -> bool:
        """Tell whether the stores of ``alias`` are open."""
        return alias in self._opened

    def records(self, address: Address, *, timeout: float) -> RecordStore:
        """Return the record store at ``address``, opened now if need be; ``timeout``: seconds a call may take.

        Raises what the store raises on opening.
        """
        found = self._records.get((address, timeout))
        if found is None:
            with self._lock:
                found = self._records.get((address, timeout))
                if found is None:
                    with forks.postponed():
                        used: Address = address
                        if self.memory_only:
                            name = f"at-{address.safe}"
                            used = MemoryAddress(_memory_name(name))
                            self._in_memory.add(name)
                        if not isinstance(used, MemoryAddress):
                            uwsgi.check_forks(address.safe)
                        found = self._records[address, timeout] = schemes.open_store(used, timeout=timeout)
                        self._tell(Opened(None, None, found))
        return found

    def on_open(self, hook: Callable[[Opened], object]) -> Callable[[], None]:
        """Call ``hook`` for stores that are open already, and each time that stores are opened; return what ends that.

        Hooks hold in the children of forks too.
        """
        with self._lock:
            self._hooks.append(hook)
            for alias, stores in self._opened.items():
                hook(Opened(alias, stores.kv, stores.records))
            for records in self._records.values():
                hook(Opened(None, None, records))
        return lambda: self._hooks.remove(hook) if hook in self._hooks else None

    def _tell(self, opened: Opened) -> None:
        for hook in self._hooks.copy():
            hook(opened)

    def close(self) -> None:
        """Release leases and close all stores; the next use opens them again."""
        with self._lock:
            opened, self._opened = self._opened, {}
            records, self._records = self._records, {}
            self.changes += 1
        for store in records.values():
            store.close()
        for alias, each in opened.items():
            for close in (partial(_close_client, each.kv), each.kv.engine.close, each.records.close):
                try:
                    close()
                except EtcdAeroError as error:
                    logger.warning("closing the stores of alias %r: %s", alias, error)

    def abandon(self) -> None:
        """Forget, in the child of a fork, what belongs to the parent.

        No lock of before the fork is taken: a thread that does not exist in the child may hold it.
        """
        self._lock = threading.RLock()
        opened, self._opened = self._opened, {}
        records, self._records = self._records, {}
        self.changes += 1
        for store in records.values():
            store.abandon()
        for each in opened.values():
            each.kv.abandon()
            each.kv.engine.abandon()
            each.records.abandon()

    def drop_memory(self) -> None:
        """Empty the stores in memory, which are closed."""
        from .keyvalue.embedded import drop_memory as drop_memory_engine  # here: ready() must stay cheap
        from .records.memory.store import drop_memory as drop_memory_store

        for alias in self._in_memory:
            drop_memory_engine(_memory_name(alias))
            drop_memory_store(_memory_name(alias))
        self._in_memory = set()


def _memory_name(alias: str) -> str:
    return f"etcdaero-test-{alias}"


def _open(alias: str, *, memory_only: bool) -> Stores:
    from .about import about  # here: ready() must stay cheap
    from .datasets.layout import RESERVED
    from .datasets.stores import Stores
    from .keyvalue.facade import KV

    settings = conf.get(alias)
    if memory_only:
        memory = MemoryAddress(_memory_name(alias))
        settings = dataclasses.replace(settings, kv=memory, records=memory)
    for address in (settings.kv, settings.records):
        if not isinstance(address, MemoryAddress):
            uwsgi.check_forks(address.safe)
    engine = conf.open_engine(settings)
    try:
        records = conf.open_store(settings, engine=engine)
    except BaseException:
        engine.close()
        raise
    kv = KV(engine, prefix=f"{settings.prefix}/", rooms=RESERVED)
    stores = Stores(
        kv=kv,
        records=records,
        prefix=settings.prefix,
        lock_ttl=settings.options.LOCK_TTL,
        garbage_ttl=settings.options.GARBAGE_TTL,
        newest_format=settings.options.NEWEST_FORMAT,
        project=settings.project,
        package=conf.package(),
        about=about(settings),
        missing=_why_missing(settings),
        shared_dir="" if memory_only else conf.shared_dir(settings),
        temporary_dir=conf.temporary_dir(settings),
    )
    if not memory_only:
        return stores
    remedy = "in a test run stores are in memory: call its refresh(), or give it rows with override_dataset()"
    return dataclasses.replace(stores, remedy=remedy)


def _why_missing(settings: AliasSettings) -> str:
    """Return why records are missing on this host that another one has announced; empty: there is no such reason."""
    if not is_split(settings.kv, settings.records):
        return ""
    return (
        f"RECORDS is {settings.records.safe}, which only has what was published on this host, while "
        f"{settings.kv.safe} tells it what other hosts publish: give RECORDS a URL that all hosts share (check E007)"
    )
