"""What can be examined: the stores that the settings name, each once whatever uses it, and the project itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

from django_etcdaero import conf
from django_etcdaero.cache import configured, options, place
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.records.aerospike.store import AerospikeStore
from django_etcdaero.records.etcd.store import EtcdStore
from django_etcdaero.records.store import RecordStore
from django_etcdaero.runtime import runtime
from django_etcdaero.stores.address import Address
from django_etcdaero.stores.aerospike import AerospikeAddress
from django_etcdaero.stores.etcd import EtcdAddress
from django_etcdaero.stores.etcd_records import EtcdRecordsAddress
from django_etcdaero.stores.local import FileAddress


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Something to examine."""

    place: str
    """For people; without credentials."""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Project(Subject):
    """The settings, and what is installed."""


@dataclass(frozen=True, kw_only=True)
class Alias(Subject):
    """One alias of ``ETCDAERO``: what it keeps, whatever its stores are."""

    settings: conf.AliasSettings

    def stores(self) -> Stores:
        """Return its stores, opened now if need be. Raises what opening raises."""
        return runtime.stores(self.settings.alias)


@dataclass(frozen=True, kw_only=True)
class EtcdCluster(Subject):
    """An etcd cluster that is the KV of some aliases, or has their records."""

    address: EtcdAddress
    prefix: str
    """Some key that the user may read begins so."""
    for_keys: bool = True
    """Whether it is KV; else records only are there."""

    def engine(self) -> Engine:
        """Return the engine that is connected with it. Raises what opening raises."""
        stores = runtime.stores(self.aliases[0])
        if self.for_keys:
            return stores.kv.open_engine()
        assert isinstance(stores.records, EtcdStore)
        return stores.records.engine


@dataclass(frozen=True, kw_only=True)
class Records(Subject):
    """A store of records: of an alias, or of a cache of this package."""

    address: Address
    prefix: str
    """How the keys of a probe begin."""
    timeout: float | None = None
    """Of a cache: seconds that a call may take; ``None``: it is the store of an alias."""

    @property
    def for_datasets(self) -> bool:
        """Whether the records of datasets are in it."""
        return self.timeout is None

    def store(self) -> RecordStore:
        """Return the store, opened now if need be. Raises what opening raises."""
        if self.timeout is None:
            return runtime.stores(self.aliases[0]).records
        return runtime.open_stores.records(self.address, timeout=self.timeout)


@dataclass(frozen=True, kw_only=True)
class AerospikeNamespace(Subject):
    """A namespace of an Aerospike cluster, with the sets of it that are used."""

    records: Records
    namespace: str
    for_datasets: bool
    """Whether records of datasets are in it, which must never be evicted."""
    sets: tuple[str, ...]

    def store(self) -> AerospikeStore:
        """Return the store of its records, opened now if need be. Raises what opening raises."""
        store = self.records.store()
        assert isinstance(store, AerospikeStore)
        return store


@dataclass(frozen=True, kw_only=True)
class File(Subject):
    """A file of SQLite."""

    address: FileAddress


def find_subjects(aliases: Collection[str] | None = None) -> list[Subject]:
    """Return what there is to examine, of all aliases or of some. Opens nothing.

    Aliases whose settings are wrong are left out; the check of the settings tells of them.
    """
    chosen = [each for each in _aliases() if aliases is None or each.alias in aliases]
    found: list[Subject] = [Project(place="project")]
    found += [_alias(each) for each in chosen]
    found += _etcd(chosen)
    stores = [*_records(chosen), *(_caches() if aliases is None else ())]
    found += stores
    found += _namespaces(stores)
    found += _files(chosen, stores)
    return found


def credentials() -> frozenset[str]:
    """Return the passwords in the settings, so that they can be kept out of what is told."""
    found: set[str] = set()
    addresses: list[Address] = [address for each in _aliases() for address in (each.kv, each.records)]
    addresses += [each.address for each in _caches()]
    for address in addresses:
        used = address.cluster if isinstance(address, EtcdRecordsAddress) else address
        if isinstance(used, EtcdAddress | AerospikeAddress) and used.credentials is not None:
            found.add(used.credentials.password)
    return frozenset(each for each in found if len(each) > 2)


def _aliases() -> Iterator[conf.AliasSettings]:
    for alias in conf.aliases():
        with suppress(ConfigurationError):
            yield conf.get(alias)


def _alias(each: conf.AliasSettings) -> Alias:
    return Alias(place=f"alias {each.alias}", aliases=(each.alias,), settings=each)


def _etcd(chosen: list[conf.AliasSettings]) -> Iterator[EtcdCluster]:
    if runtime.memory_only:
        return
    used: dict[EtcdAddress, list[conf.AliasSettings]] = {}
    for each in chosen:
        if isinstance(each.kv, EtcdAddress):
            used.setdefault(each.kv, []).append(each)
    for address, users in used.items():
        names = tuple(each.alias for each in users)
        yield EtcdCluster(place=address.safe, aliases=names, address=address, prefix=f"{users[0].prefix}/")
    for each in chosen:
        if isinstance(each.records, EtcdRecordsAddress) and each.records.cluster not in used:
            cluster = each.records.cluster
            used[cluster] = [each]
            yield EtcdCluster(
                place=cluster.safe, aliases=(each.alias,), address=cluster, prefix=each.records.room, for_keys=False
            )


def _records(chosen: list[conf.AliasSettings]) -> Iterator[Records]:
    used: dict[Address, list[conf.AliasSettings]] = {}
    for each in chosen:
        used.setdefault(each.records, []).append(each)
    for address, users in used.items():
        names = tuple(each.alias for each in users)
        yield Records(place=address.safe, aliases=names, address=address, prefix=users[0].prefix)


def _caches() -> Iterator[Records]:
    """Yield the stores of caches that are no store of an alias."""
    for alias, params in configured.ours():
        location = params.get("LOCATION")
        if not isinstance(location, str) or location.startswith(place.ALIAS_SCHEME):
            continue
        with suppress(ConfigurationError):  # check E008 says it
            address, timeout = place.address_of(location), options.read(params.get("OPTIONS") or {}).CALL_TIMEOUT
            yield Records(
                place=f"cache {alias}: {address.safe}", address=address, prefix=place.ROOM.decode(), timeout=timeout
            )


def _namespaces(stores: list[Records]) -> Iterator[AerospikeNamespace]:
    used: dict[tuple[object, ...], list[Records]] = {}
    for each in stores:
        if isinstance(each.address, AerospikeAddress) and not runtime.memory_only:
            used.setdefault((frozenset(each.address.endpoints), each.address.namespace), []).append(each)
    for users in used.values():
        first = users[0].address
        assert isinstance(first, AerospikeAddress)
        hosts = first.safe.rpartition("/")[0]
        yield AerospikeNamespace(
            place=hosts,
            aliases=tuple(name for each in users for name in each.aliases),
            records=users[0],
            namespace=first.namespace,
            for_datasets=any(each.for_datasets for each in users),
            sets=tuple(each.address.set_name for each in users if isinstance(each.address, AerospikeAddress)),
        )


def _files(chosen: list[conf.AliasSettings], stores: list[Records]) -> Iterator[File]:
    used: dict[FileAddress, list[str]] = {}
    for alias, address in [
        *((each.alias, each.kv) for each in chosen),
        *((name, each.address) for each in stores for name in each.aliases or ("",)),
    ]:
        if isinstance(address, FileAddress) and not runtime.memory_only:
            used.setdefault(address, []).append(alias)
    for address, names in used.items():
        yield File(place=address.safe, aliases=tuple(dict.fromkeys(filter(None, names))), address=address)
