"""What the system checks say of ``settings.CACHES``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning

from django_etcdaero import conf
from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.stores.address import Address, Reach
from django_etcdaero.stores.aerospike import AerospikeAddress
from django_etcdaero.stores.local import FileAddress

from . import options
from .configured import ours
from .faults import faults
from .place import ALIAS_SCHEME, address_of


def check(*, deploy: bool = False) -> list[CheckMessage]:
    """Return what is wrong.

    E008: an entry is wrong. E009: its set is that of ``RECORDS``. With ``deploy``: W006: it is in memory. W007: its
    near caches are told of changes through a store that fewer processes see.
    """
    found: list[CheckMessage] = []
    for alias, params in ours():
        where = f'CACHES["{alias}"]'
        location = params.get("LOCATION", "")
        if wrong := _faults(location, params):
            hint = "See the page on the cache backend."
            found += [Error(f"{where}: {text}", hint=hint, id="etcdaero.E008") for text in wrong]
            continue
        chosen = options.read(params.get("OPTIONS") or {})
        kv, address = conf.get(chosen.USING).kv, address_of(location)
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


def _faults(location: object, params: Mapping[str, Any]) -> list[str]:
    found = list(faults(location, params))
    given = params.get("OPTIONS") or {}
    using = given.get("USING", conf.DEFAULT_ALIAS) if isinstance(given, Mapping) else None
    if isinstance(using, str):
        try:
            conf.get(using)
        except ConfigurationError as error:
            found.append(str(error))
    try:
        address = address_of(location)
    except ConfigurationError:
        return list(dict.fromkeys(found))
    found += [
        f"LOCATION {address.safe} is the file of the KV of the alias {alias!r}: keys and a cache cannot be in one file"
        for alias, entry in _aliases()
        if isinstance(address, FileAddress) and entry.kv == address
    ]
    return list(dict.fromkeys(found))


_FEWER = {Reach.PROCESS: "only the threads of one process", Reach.HOST: "only the processes of one host"}


def _reach(address: Address) -> Reach:
    return min(address.reach, Reach.HOST) if address.on_this_host else address.reach


def _aliases_with(address: AerospikeAddress) -> list[str]:
    return [
        alias
        for alias, entry in _aliases()
        if isinstance(entry.records, AerospikeAddress) and _same_set(entry.records, address)
    ]


def _aliases() -> Iterator[tuple[str, conf.AliasSettings]]:
    for alias in conf.aliases():
        with suppress(ConfigurationError):  # E001 to E004 say it
            yield alias, conf.get(alias)


def _same_set(one: AerospikeAddress, other: AerospikeAddress) -> bool:
    shared = set(one.endpoints) & set(other.endpoints)
    return bool(shared) and (one.namespace, one.set_name) == (other.namespace, other.set_name)
