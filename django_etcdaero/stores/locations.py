"""Where a store is: URLs parsed into :class:`Location`, and the table of schemes that says how each one is opened.

A location names a store of one of the two planes: a key-value engine (:class:`~django_etcdaero.keyvalue.engine.Engine`)
or a record store (:class:`~django_etcdaero.records.store.RecordStore`). :data:`SCHEMES` is the only list of schemes:
parsing, error messages, system checks and opening all read it, so a further kind of store is one further entry. Parsing
touches neither files nor network; implementations are imported when one is opened, not before.
"""

from __future__ import annotations

import difflib
import enum
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, unquote

from django_etcdaero.exceptions import ConfigurationError

from . import servers
from .servers import Server

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.engine import Engine
    from django_etcdaero.records.store import RecordStore

# RFC 3986, appendix B. ``urlsplit`` of recent Pythons takes no IPv6 address after the first of several hosts.
_URL = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?(?://(?P<netloc>[^/?#]*))?(?P<path>[^?#]*)"
    r"(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?"
)
_MEMORY_NAME = re.compile(r"[A-Za-z0-9_.-]*")
_USER_INFO = re.compile(r"^(?:([A-Za-z][A-Za-z0-9+.-]*://))?.*@", re.DOTALL)
_QUERY_ITEM = re.compile(r"([^=&;]*=)?[^&;]+")


class Plane(enum.Enum):
    """What a location is used for; the values are the keys in ``settings.ETCDAERO``."""

    KV = "KV"
    RECORDS = "RECORDS"


class Reach(enum.IntEnum):
    """Who else sees what a process writes to a store."""

    PROCESS = 0
    """The threads of this process."""
    HOST = 1
    """All processes of this host."""
    CLUSTER = 2
    """All processes of all hosts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """The place of a store. Equal locations are the same store, however their URLs were spelled."""

    scheme: str
    safe: str
    """The URL in its one canonical spelling, without credentials: for logs, errors and pages."""
    name: str = ""
    """Name of a store in memory."""
    path: Path | None = None
    """Absolute path of a file."""
    server: Server | None = None
    """The cluster, of a store on servers."""

    @property
    def reach(self) -> Reach:
        """Who else sees what is written there."""
        return SCHEMES[self.scheme].reach

    @property
    def prefix_required(self) -> bool:
        """Whether a ``PREFIX`` must be chosen, because other projects or deployments may use the same store."""
        return SCHEMES[self.scheme].prefix_required


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One kind of URL: how it is written, read and opened."""

    forms: str
    """How to write it, for error messages."""
    reach: Reach
    prefix_required: bool
    parse: Callable[[SplitResult, Path | None], Location]
    """Makes a location of a split URL and the directory that relative paths start from (``None``: there is none).

    Raises ``ConfigurationError`` with a message that says what is wrong and does not quote the URL.
    """
    open_engine: Callable[[Location, float], Engine] | None
    """Opens a location with the default time in seconds that a call may take. ``None``: it cannot be a ``KV``."""
    open_store: Callable[[Location, float], RecordStore] | None
    """Likewise. ``None``: it cannot be a ``RECORDS``."""

    def serves(self, plane: Plane) -> bool:
        """Tell whether it can be used for ``plane``."""
        return (self.open_engine if plane is Plane.KV else self.open_store) is not None


def parse(url: object, *, plane: Plane, base_dir: Path | None = None) -> Location:
    """Parse the URL of a store.

    ``base_dir`` is the absolute directory that relative file paths start from. Raises ``ConfigurationError`` for
    anything that is not a URL of a scheme that serves ``plane``; the message never contains credentials.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"must be a URL (str), not {type(url).__name__}")
    known = {name: scheme for name, scheme in SCHEMES.items() if scheme.serves(plane)}
    forms = " or ".join(dict.fromkeys(scheme.forms for scheme in known.values()))  # etcd and http are one
    if not url:
        raise ConfigurationError(f"is empty; use {forms}")
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ConfigurationError(f"{mask(url)!r} contains white space or control characters")
    parts = _split(url)
    scheme = SCHEMES.get(parts.scheme)
    if scheme is None:
        close = difflib.get_close_matches(parts.scheme, known, n=1, cutoff=0.65)  # by default redis: is like etcds:
        guess = f" (did you mean {close[0]!r}?)" if close else ""
        raise ConfigurationError(f"{mask(url)!r} has no known URL scheme{guess}; use {forms}")
    if not scheme.serves(plane):
        raise ConfigurationError(f"{mask(url)!r} cannot be used as {plane.value}; use {forms}")
    try:
        return scheme.parse(parts, base_dir)
    except ConfigurationError as error:
        raise ConfigurationError(f"{mask(url)!r}: {error}; use {scheme.forms}") from None


def open_engine(location: Location, *, timeout: float) -> Engine:
    """Open the key-value engine at ``location``; ``timeout`` is what a call may take by default, in seconds.

    Raises ``ConfigurationError`` when there can be none, and what the engine raises when it cannot be opened.
    """
    opener = SCHEMES[location.scheme].open_engine
    if opener is None:
        raise ConfigurationError(f"{location.safe!r} cannot be used as {Plane.KV.value}")
    return opener(location, timeout)


def open_store(location: Location, *, timeout: float) -> RecordStore:
    """Open the record store at ``location``; ``timeout`` is what a call may take by default, in seconds.

    Raises ``ConfigurationError`` when there can be none, and what the store raises when it cannot be opened.
    """
    opener = SCHEMES[location.scheme].open_store
    if opener is None:
        raise ConfigurationError(f"{location.safe!r} cannot be used as {Plane.RECORDS.value}")
    return opener(location, timeout)


def _split(url: str) -> SplitResult:
    match = _URL.fullmatch(url)
    assert match is not None  # it matches any text on one line
    found = match.groupdict(default="")
    return SplitResult(**found | {"scheme": found["scheme"].lower()})


def mask(url: str) -> str:
    """Return ``url`` with ``***`` for user and password, all query values and the fragment.

    Made for text that may be no valid URL, so it rather hides too much: passwords with an unescaped ``/``, ``?`` or
    ``#`` and misspelled names of secret options stay hidden too.
    """
    masked = _USER_INFO.sub(lambda match: f"{match[1] or ''}***@", url)
    masked, fragment, _ = masked.partition("#")
    masked, question, query = masked.partition("?")
    query = _QUERY_ITEM.sub(lambda match: f"{match[1] or ''}***", query)
    return f"{masked}{question}{query}{fragment}{fragment and '***'}"


# --- mem: ------------------------------------------------------------------------------------------------------------


def _parse_memory(parts: SplitResult, base_dir: Path | None) -> Location:
    _refuse_extras(parts)
    if parts.netloc or parts.path.startswith("/") or not _MEMORY_NAME.fullmatch(parts.path):
        raise ConfigurationError("the name of a store in memory is made of letters, digits, '_', '.' and '-'")
    return Location(scheme="mem", safe=f"mem:{parts.path}", name=parts.path)


def _open_memory_engine(location: Location, timeout: float) -> Engine:
    from django_etcdaero.keyvalue.embedded import EmbeddedEngine

    return EmbeddedEngine.memory(location.name, timeout=timeout)


def _open_memory_store(location: Location, timeout: float) -> RecordStore:
    from django_etcdaero.records.memory import MemoryStore

    return MemoryStore(location.name)  # it never waits


# --- sqlite: ---------------------------------------------------------------------------------------------------------


def _parse_sqlite(parts: SplitResult, base_dir: Path | None) -> Location:
    _refuse_extras(parts)
    if parts.netloc or not parts.path.startswith("/"):
        raise ConfigurationError("a file needs three slashes when relative and four when absolute")
    text = unquote(parts.path[1:])
    if text == ":memory:":
        raise ConfigurationError("a store in memory is written mem:")
    if "\x00" in text or text.rpartition("/")[2] in {"", ".", ".."}:
        raise ConfigurationError("the path does not name a file")
    if not text.startswith("/") and base_dir is None:
        raise ConfigurationError("a relative path needs the setting BASE_DIR, which is not set to a path")
    # Lexical: resolving links would read the file system, and parsing is part of the offline system checks.
    path = Path(os.path.normpath((base_dir or Path("/")) / re.sub("^/+", "/", text)))
    return Location(scheme="sqlite", safe=f"sqlite:///{quote(str(path))}", path=path)


def _open_sqlite_engine(location: Location, timeout: float) -> Engine:
    from django_etcdaero.keyvalue.embedded import EmbeddedEngine

    assert location.path is not None
    return EmbeddedEngine.file(location.path, busy_timeout=timeout)


def _open_sqlite_store(location: Location, timeout: float) -> RecordStore:
    from django_etcdaero.records.sqlite.store import SqliteStore

    assert location.path is not None
    return SqliteStore(location.path, busy_timeout=timeout)


def _refuse_extras(parts: SplitResult) -> None:
    if parts.query or parts.fragment:
        raise ConfigurationError("it takes no options after '?' and no '#' (in a file name write %3F and %23)")


# --- servers ---------------------------------------------------------------------------------------------------------


def _on_servers(name: str, *, encrypted: bool) -> Scheme:
    parse_url, opener, plane = (
        (servers.parse_etcd, servers.open_etcd, Plane.KV)
        if name.startswith("etcd")
        else (servers.parse_aerospike, servers.open_aerospike, Plane.RECORDS)
    )

    def parse_location(parts: SplitResult, base_dir: Path | None) -> Location:
        server = parse_url(parts, base_dir, encrypted=encrypted)
        return Location(scheme=name, safe=f"{name}://{server.safe}", server=server)

    def open_location(location: Location, timeout: float) -> Any:
        assert location.server is not None
        return opener(location.server, timeout)

    options = "?ca=ca.pem" if encrypted else ""
    return Scheme(
        forms=f"{name}://host:port,host:port{'/namespace/set' if plane is Plane.RECORDS else ''}{options}",
        reach=Reach.CLUSTER,
        prefix_required=True,
        parse=parse_location,
        open_engine=open_location if plane is Plane.KV else None,
        open_store=open_location if plane is Plane.RECORDS else None,
    )


SCHEMES: dict[str, Scheme] = {
    "mem": Scheme(
        forms="mem: or mem:name",
        reach=Reach.PROCESS,
        prefix_required=False,
        parse=_parse_memory,
        open_engine=_open_memory_engine,
        open_store=_open_memory_store,
    ),
    "sqlite": Scheme(
        forms="sqlite:///relative/to/BASE_DIR.sqlite3 or sqlite:////absolute/path.sqlite3",
        reach=Reach.HOST,
        prefix_required=False,
        parse=_parse_sqlite,
        open_engine=_open_sqlite_engine,
        open_store=_open_sqlite_store,
    ),
}
"""Every URL scheme, by its name in lower case."""

for _name in ("etcd", "etcds", "aerospike", "aerospikes"):
    SCHEMES[_name] = _on_servers(_name, encrypted=_name.endswith("s"))
# etcd's own tools write its addresses like this; the locations are those of etcd:// and etcds://.
SCHEMES["http"], SCHEMES["https"] = SCHEMES["etcd"], SCHEMES["etcds"]
