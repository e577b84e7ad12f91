"""What the system checks say of ``settings.CACHES``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from django_etcdaero import conf
from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.stores.address import Address, Reach
from django_etcdaero.stores.aerospike import AerospikeAddress

from . import options
from .backend import EtcdAeroCache
from .place import ALIAS_SCHEME, address_at


def check(*, deploy: bool = False) -> list[CheckMessage]:
    """Return what is wrong.

    E008: an entry is wrong. E009: its set is that of ``RECORDS``. With ``deploy``: W006: it is in memory. W007: its
    near caches are told of changes through a store that fewer processes see.
    """
    found: list[CheckMessage] = []
    for alias, params in _ours():
        where = f'CACHES["{alias}"]'
        location = params.get("LOCATION", "")
        try:
            EtcdAeroCache(location, params)
            chosen = options.read(params.get("OPTIONS") or {})
            kv = conf.get(chosen.USING).kv
        except (ImproperlyConfigured, ConfigurationError) as error:
            text = str(error).removeprefix("CACHES: ")
            found.append(Error(f"{where}: {text}", hint="See the page on the cache backend.", id="etcdaero.E008"))
            continue
        if location.startswith(ALIAS_SCHEME):
            address = conf.get(location.removeprefix(ALIAS_SCHEME)).records
        else:
            address = address_at(location)
        if deploy and chosen.NEAR is not None and _reach(kv) < _reach(address):
            found.append(
                CheckWarning(
                    f"{where} has NEAR, and {_FEWER[_reach(kv)]} are told of what changes: the KV of the alias "
                    f"{chosen.USING!r} is {kv.safe}. All others keep what they hold until max_age is over.",
                    hint="Name an alias in USING whose KV is on servers, or leave NEAR out.",
                    id="etcdaero.W007",
                )
            )
        if location.startswith(ALIAS_SCHEME):
            continue
        if isinstance(address, AerospikeAddress):
            found += [
                Error(
                    f"{where} is the same set of Aerospike as the RECORDS of the alias {other!r}.",
                    hint=f'Give the cache a set of its own, or use "LOCATION": "{ALIAS_SCHEME}{other}".',
                    id="etcdaero.E009",
                )
                for other in _aliases_with(address)
            ]
        elif deploy and address.reach is Reach.PROCESS:
            found.append(
                CheckWarning(
                    f"{where} is inside each process: what one stores or invalidates the others do not see.",
                    hint="Use sqlite:/// for all processes of one host.",
                    id="etcdaero.W006",
                )
            )
    return found


_FEWER = {Reach.PROCESS: "only the threads of one process", Reach.HOST: "only the processes of one host"}


def _reach(address: Address) -> Reach:
    return min(address.reach, Reach.HOST) if address.on_this_host else address.reach


def _ours() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for alias, params in settings.CACHES.items():
        try:
            backend = import_string(params["BACKEND"])
        except (ImportError, KeyError, TypeError):
            continue  # Django says it
        if isinstance(backend, type) and issubclass(backend, EtcdAeroCache):
            yield alias, params


def _aliases_with(address: AerospikeAddress) -> list[str]:
    found = []
    for alias in conf.aliases():
        try:
            records = conf.get(alias).records
        except ConfigurationError:
            continue  # E001 to E004 say it
        if isinstance(records, AerospikeAddress) and _same_set(records, address):
            found.append(alias)
    return found


def _same_set(one: AerospikeAddress, other: AerospikeAddress) -> bool:
    shared = set(one.endpoints) & set(other.endpoints)
    return bool(shared) and (one.namespace, one.set_name) == (other.namespace, other.set_name)
