"""Where a cache keeps its entries: ``LOCATION``, read, and the store there, opened at the first use in each process."""

from __future__ import annotations

import dataclasses
import threading
from functools import lru_cache
from typing import Final

from django_etcdaero import conf, schemes
from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.records.store import RecordStore
from django_etcdaero.runtime import runtime
from django_etcdaero.stores.address import Address, Plane
from django_etcdaero.stores.database import ROOM as RECORDS_ROOM
from django_etcdaero.stores.database import DatabaseAddress
from django_etcdaero.stores.etcd_records import EtcdRecordsAddress
from django_etcdaero.stores.local import MemoryAddress

from .stamps import Stamps

ALIAS_SCHEME: Final = "etcdaero:"
"""``etcdaero:ALIAS`` is the record store of an alias of ``ETCDAERO``."""

EXAMPLES: Final = "'aerospike://host:3000/namespace/set' or 'mem:'"

ROOM: Final = b"cache:"
"""How the keys of caches begin; in an alias's store its prefix and a slash come before. No prefix of an alias has a
colon, so that nobody else's records are in this room, whatever shares the store."""

DATABASE_ROOM: Final = "cache"
"""The room of ``db:ALIAS`` that is no RECORDS' and that names none."""


class Place:
    """The store of all caches with one ``LOCATION``, and the stamps there."""

    def __init__(self, location: str, *, timeout: float) -> None:
        """``timeout``: seconds a call may take. Raises ``ConfigurationError`` for what is wrong with ``location``."""
        self._timeout = timeout
        self._alias: str | None = None
        self._address: Address | None = None
        if location.startswith(ALIAS_SCHEME):
            self._alias = location.removeprefix(ALIAS_SCHEME)
            settings = conf.get(self._alias)
            self.room = f"{settings.prefix}/".encode() + ROOM
            used = settings.records
        else:
            used = self._address = address_at(location)
            self.room = ROOM
        self.in_memory = isinstance(used, MemoryAddress)
        """Whether that is what the settings say; in a test run the stores of all locations may be."""
        self.private = isinstance(self._address, MemoryAddress)
        """Nobody but this process writes here."""
        self.stamps = Stamps(self.store)
        self._opened: tuple[int, RecordStore] | None = None
        """The store, and how often stores had changed when it was opened: together, for threads that look at it."""
        runtime.attach()

    def settled(self) -> bool:
        """Whether the store is open, and still the one that the stamps are from."""
        opened = self._opened
        return opened is not None and opened[0] == runtime.open_stores.changes

    def store(self) -> RecordStore:
        """Return the store, opened now if need be. Raises what opening raises."""
        stores = runtime.open_stores
        opened = self._opened
        changes = stores.changes
        if opened is not None and opened[0] == changes:
            return opened[1]
        if self._address is None:
            store = runtime.stores(self._alias or conf.DEFAULT_ALIAS).records
        else:
            store = stores.records(self._address, timeout=self._timeout)
        self.stamps.forget()
        self._opened = changes, store
        return store


_places: dict[tuple[str, float], Place] = {}
_lock = threading.Lock()


def place_of(location: str, *, timeout: float) -> Place:
    """Return the place of ``location`` in this process: caches of one location share what is known of it."""
    key = (location, timeout)
    found = _places.get(key)
    if found is None:
        with _lock:
            found = _places.get(key)
            if found is None:
                found = _places[key] = Place(location, timeout=timeout)
    return found


def address_of(location: object) -> Address:
    """Return where the entries of a cache with this ``LOCATION`` are. Raises ``ConfigurationError``."""
    if not isinstance(location, str):
        raise ConfigurationError(
            f"LOCATION must be one URL (str), as {EXAMPLES}, not {type(location).__name__}; several hosts of one store "
            f"are in one URL, separated by commas"
        )
    if not location:
        raise ConfigurationError(f"LOCATION must be a URL, as {EXAMPLES}")
    if location.startswith(ALIAS_SCHEME):
        return conf.get(location.removeprefix(ALIAS_SCHEME)).records
    return address_at(location)


@lru_cache(maxsize=64)
def address_at(location: str) -> Address:
    """Read a ``LOCATION`` that is no alias. Raises ``ConfigurationError``."""
    try:
        address = schemes.parse(location, plane=Plane.RECORDS, base_dir=conf.base_dir())
        if isinstance(address, EtcdRecordsAddress):
            _ = address.room  # raises where there is none
    except ConfigurationError as error:
        raise ConfigurationError(f"LOCATION {error}, or {ALIAS_SCHEME}ALIAS of ETCDAERO") from None
    if isinstance(address, DatabaseAddress) and address.room == RECORDS_ROOM:
        return dataclasses.replace(address, room=DATABASE_ROOM)
    return address
