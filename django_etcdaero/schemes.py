"""The table of all URL schemes: reading a URL into an address, and opening an address.

Parsing, error messages and opening read :data:`ENGINES` and :data:`STORES`; a further kind of store is a ``scheme.py``
beside its backend and a line here. Parsing touches neither files nor network; clients are imported when a store is
opened, not before.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections import UserDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from .exceptions import ConfigurationError
from .stores import url as urls
from .stores.address import Address, Plane
from .stores.scheme import Scheme
from .system.shown import shown

if TYPE_CHECKING:
    from .keyvalue.engine import Engine
    from .records.store import RecordStore

Opened = TypeVar("Opened")


class Schemes(UserDict[str, Scheme[Any, Opened]]):
    """Schemes by name in lower case, each imported when it is looked at: a start needs those of its settings only."""

    def __init__(self, places: Mapping[str, str]) -> None:
        """``places`` tells where each scheme is: ``package:NAME``, of a module ``scheme`` in a package of this one."""
        self.data = cast("dict[str, Scheme[Any, Opened]]", dict(places))

    def __getitem__(self, name: str) -> Scheme[Any, Opened]:
        found: Any = self.data[name]
        if isinstance(found, str):
            package, _, attribute = found.partition(":")
            found = getattr(importlib.import_module(f"{__package__}.{package}.scheme"), attribute)
        scheme: Scheme[Any, Opened] = found
        return scheme


ENGINES: Final[Schemes[Engine]] = Schemes(
    {
        "mem": "keyvalue.embedded:MEMORY",
        "sqlite": "keyvalue.embedded:FILE",
        "etcd": "keyvalue.etcd:PLAIN",
        "http": "keyvalue.etcd:PLAIN",
        "etcds": "keyvalue.etcd:ENCRYPTED",
        "https": "keyvalue.etcd:ENCRYPTED",
    }
)
"""The schemes for ``KV``."""

STORES: Final[Schemes[RecordStore]] = Schemes(
    {
        "mem": "records.memory:MEMORY",
        "sqlite": "records.sqlite:FILE",
        "aerospike": "records.aerospike:PLAIN",
        "aerospikes": "records.aerospike:ENCRYPTED",
        "etcd": "records.etcd:PLAIN",
        "http": "records.etcd:PLAIN",
        "etcds": "records.etcd:ENCRYPTED",
        "https": "records.etcd:ENCRYPTED",
        "db": "records.database:DATABASE",
    }
)
"""The schemes for ``RECORDS``."""

_TABLES: Final[Mapping[Plane, Mapping[str, Scheme[Any, Any]]]] = {Plane.KV: ENGINES, Plane.RECORDS: STORES}


def parse(url: object, *, plane: Plane, base_dir: Path | None = None) -> Address:
    """Read the URL of a store.

    ``base_dir`` is the absolute directory that relative file paths start from. Raises ``ConfigurationError`` for
    anything that is not a URL of a scheme for ``plane``; the message never contains credentials.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"must be a URL (str), not {type(url).__name__}")
    known = _TABLES[plane]
    if not url:
        raise ConfigurationError(f"is empty; use {_forms(known)}")
    masked = repr(urls.mask(url))
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ConfigurationError(f"{masked} contains white space or control characters")
    parts = urls.split(url)
    scheme = known.get(parts.scheme)
    if scheme is None:
        if any(parts.scheme in table for table in _TABLES.values()):
            raise ConfigurationError(f"{masked} cannot be used as {plane.value}; use {_forms(known)}")
        close = difflib.get_close_matches(parts.scheme, known, n=1, cutoff=0.65)  # by default redis: is like etcds:
        if "//" not in url:  # no URL of servers or of a file: who knows what it is
            rest = "***" if parts.path or parts.query or parts.fragment else ""
            masked = repr(f"{parts.scheme}:{rest}") if parts.scheme else shown(url)
        guess = f" (did you mean {close[0]!r}?)" if close else ""
        raise ConfigurationError(f"{masked} has no known URL scheme{guess}; use {_forms(known)}")
    try:
        address: Address = scheme.parse(parts, base_dir)
    except ConfigurationError as error:
        raise ConfigurationError(f"{masked}: {error}; use {scheme.forms}") from None
    return address


def _forms(known: Mapping[str, Scheme[Any, Any]]) -> str:
    return " or ".join(dict.fromkeys(scheme.forms for scheme in known.values()))  # etcd and http are one


def open_engine(address: Address, *, timeout: float) -> Engine:
    """Open the key-value engine at ``address``; ``timeout`` is what a call may take by default, in seconds.

    Raises ``ConfigurationError`` when there can be none, and what the engine raises when it cannot be opened.
    """
    return _of(address, ENGINES, Plane.KV).open(address, timeout)


def open_store(address: Address, *, timeout: float, beside: tuple[Address, Engine] | None = None) -> RecordStore:
    """Open the record store at ``address``; ``timeout`` is what a call may take by default, in seconds.

    ``beside``: an engine that is open, and its address. A store on the same servers goes through its connections, and
    lives no longer than it. Raises ``ConfigurationError`` when there can be none, and what the store raises when it
    cannot be opened.
    """
    scheme = _of(address, STORES, Plane.RECORDS)
    if beside is not None and scheme.open_beside is not None:
        store = scheme.open_beside(address, *beside)
        if store is not None:
            return store
    return scheme.open(address, timeout)


def import_clients(kv: Address, records: Address) -> None:
    """Import the clients that opening these addresses would import. Raises ``ImportError``."""
    for scheme in (_of(kv, ENGINES, Plane.KV), _of(records, STORES, Plane.RECORDS)):
        for module in scheme.imports:
            importlib.import_module(module)


def _of(address: Address, table: Mapping[str, Scheme[Any, Opened]], plane: Plane) -> Scheme[Any, Opened]:
    for scheme in table.values():
        if scheme.address is type(address):
            return scheme
    raise ConfigurationError(f"{address.safe!r} cannot be used as {plane.value}")
