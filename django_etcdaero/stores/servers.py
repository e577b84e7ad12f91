"""URLs of stores on servers: ``etcd://``, ``etcds://``, ``aerospike://`` and ``aerospikes://``.

::

    etcd://host:2379,host:2379,[::1]:2379
    etcd://host:2379?sync=60
    etcds://user:password@host:2379?ca=ca.pem&cert=client.pem&key=client-key.pem
    aerospike://host:3000,host:3000/namespace/set

A scheme with ``s`` is encrypted. User and password are written percent-encoded; files may be relative to ``BASE_DIR``.
What the clients refuse without a call is refused here, where the setting can be named; they are not imported for that.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, parse_qsl, unquote

from django_etcdaero.exceptions import ConfigurationError

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.engine import Engine
    from django_etcdaero.records.store import RecordStore

ETCD_PORT: Final = 2379
AEROSPIKE_PORT: Final = 3000
LONGEST_SYNC: Final = 86_400
"""Seconds: a day."""

LONGEST_NAMESPACE: Final = 31
LONGEST_SET: Final = 63
"""Bytes: Aerospike's limits (https://aerospike.com/docs/database/reference/limitations)."""

_HOST = re.compile(
    r"(?:\[(?P<address>[0-9A-Fa-f:.%]+)\]|(?P<name>[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?))(?::(?P<port>[0-9]{1,5}))?"
)
_NEXT_URL = re.compile(r"/?,(?=[A-Za-z][A-Za-z0-9+.-]*://)")
_NAME = re.compile(r"[!-~]+")
_NOT_IN_NAMES = re.compile(r"[:;|/=,]")  # they delimit names in Aerospike's text commands
_FILES: Final = ("ca", "cert", "key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where a cluster is and how to get in. Its ``repr`` has no credentials."""

    hosts: tuple[tuple[str, int], ...]
    """Names in lower case, or addresses (IPv6 without brackets), and ports."""
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    encrypted: bool = False
    files: tuple[tuple[str, str], ...] = ()
    """Paths of PEM files by ``ca``, ``cert``, ``key``; and for Aerospike ``name``, what the certificates must say."""
    sync: int | None = None
    """For etcd: seconds between two looks at the members of the cluster; ``None``: the hosts stay as they are."""
    namespace: str = ""
    set_name: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The hosts as ``host:port``, IPv6 in brackets."""
        return tuple(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)

    @property
    def safe(self) -> str:
        """Hosts and path as in a URL, without credentials and options."""
        path = f"/{self.namespace}/{self.set_name}" if self.namespace else ""
        return ",".join(self.addresses) + path


def parse_etcd(parts: SplitResult, base_dir: Path | None, *, encrypted: bool) -> Server:
    """Parse a split ``etcd://`` URL, or several joined by commas. Raises ``ConfigurationError`` without quoting it."""
    parts = _joined(parts)
    if parts.path not in ("", "/"):
        raise ConfigurationError("nothing may follow the hosts but options after '?'")
    server = _server(parts, base_dir, port=ETCD_PORT, encrypted=encrypted, options=(*_FILES, "sync"))
    if len(set(server.hosts)) != len(server.hosts):
        raise ConfigurationError("it names a host twice")
    sync = dict(server.files).get("sync")
    if sync is None:
        return server
    if not re.fullmatch("[0-9]{1,5}", sync) or not 1 <= int(sync) <= LONGEST_SYNC:
        raise ConfigurationError(f"the option 'sync' is 1 to {LONGEST_SYNC} whole seconds")
    files = tuple(each for each in server.files if each[0] != "sync")
    return replace(server, files=files, sync=int(sync))


def parse_aerospike(parts: SplitResult, base_dir: Path | None, *, encrypted: bool) -> Server:
    """Parse a split ``aerospike://`` URL. Raises ``ConfigurationError`` without quoting it."""
    names = [unquote(name) for name in parts.path.strip("/").split("/")]
    if len(names) != 2 or not all(names):
        raise ConfigurationError("the hosts are followed by /namespace/set")
    namespace, set_name = names
    _check_name("namespace", namespace, LONGEST_NAMESPACE)
    _check_name("set", set_name, LONGEST_SET)
    server = _server(
        parts,
        base_dir,
        port=AEROSPIKE_PORT,
        encrypted=encrypted,
        options=(*_FILES, "name"),
        namespace=namespace,
        set_name=set_name,
    )
    if any(text is not None and not (text and text.isprintable()) for text in (server.user, server.password)):
        raise ConfigurationError("user and password are not empty and have printable characters only")
    return server


def open_etcd(server: Server, timeout: float) -> Engine:
    """Make the engine; it connects at the first call, each of which may take ``timeout`` seconds by default."""
    from django_etcdaero.keyvalue.etcd import EtcdEngine, Tls

    return EtcdEngine(
        server.addresses,
        user=server.user,
        password=server.password,
        tls=Tls(**dict(server.files)) if server.encrypted else None,
        timeout=timeout,
        sync_members=server.sync,
    )


def open_aerospike(server: Server, timeout: float) -> RecordStore:
    """Make the store; it connects at the first call, each of which may take ``timeout`` seconds by default."""
    from django_etcdaero.records.aerospike import AerospikeStore, Tls

    return AerospikeStore(
        server.hosts,
        namespace=server.namespace,
        set_name=server.set_name,
        timeout=timeout,
        user=server.user,
        password=server.password,
        tls=Tls(**dict(server.files)) if server.encrypted else None,
    )


def _joined(parts: SplitResult) -> SplitResult:
    """Return what etcd's own tools write as ``http://a:2379,http://b:2379`` as ``http://a:2379,b:2379``."""
    first, *others = _NEXT_URL.split(parts.netloc + parts.path)
    if not others:
        return parts
    hosts = [first]
    for other in others:
        scheme, _, rest = other.partition("://")
        if "@" in rest:
            raise ConfigurationError("credentials are written once, before the first host")
        if scheme.lower() != parts.scheme:
            raise ConfigurationError(f"schemes are mixed: all addresses begin with {parts.scheme}:// or only the first")
        hosts.append(rest)
    hosts[-1], slash, path = hosts[-1].partition("/")
    return parts._replace(netloc=",".join(hosts), path=slash + path)


def _server(
    parts: SplitResult,
    base_dir: Path | None,
    *,
    port: int,
    encrypted: bool,
    options: Sequence[str],
    namespace: str = "",
    set_name: str = "",
) -> Server:
    if parts.fragment:
        raise ConfigurationError("it has no part after '#' (in a password write %23)")
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, colon, password = credentials.partition(":")
    if credentials and not (user and colon):
        raise ConfigurationError("credentials are written user:password@")
    return Server(
        hosts=tuple(_host(text, port) for text in hosts.split(",")),
        user=unquote(user) or None,
        password=unquote(password) if credentials else None,
        encrypted=encrypted,
        files=_options(parts.query, options, base_dir, encrypted=encrypted),
        namespace=namespace,
        set_name=set_name,
    )


def _host(text: str, default: int) -> tuple[str, int]:
    match = _HOST.fullmatch(text)
    port = int(match["port"] or default) if match else 0
    if match is None or not 0 < port < 65536:
        raise ConfigurationError("hosts are written host:port, separated by commas (an IPv6 address in brackets)")
    if match["name"]:
        return match["name"].lower(), port
    try:
        return str(ipaddress.IPv6Address(match["address"])), port
    except ValueError:
        raise ConfigurationError("there is no valid IPv6 address in the brackets") from None


def _check_name(what: str, name: str, limit: int) -> None:
    if not _NAME.fullmatch(name) or _NOT_IN_NAMES.search(name):
        raise ConfigurationError(f"the {what} must be of ASCII characters other than spaces and : ; | / = ,")
    if len(name) > limit:
        raise ConfigurationError(f"the {what} has {len(name)} bytes, Aerospike takes {limit}")


def _options(
    query: str, known: Sequence[str], base_dir: Path | None, *, encrypted: bool
) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise ConfigurationError(f"unknown option {name!r}; known: {', '.join(known)}")
        if not value or name in found:
            raise ConfigurationError(f"the option {name!r} is given once, with a value")
        found[name] = str((base_dir or Path()) / value) if name in _FILES else value
    if not encrypted and any(name != "sync" for name in found):
        raise ConfigurationError("certificates are for the encrypted schemes (with an 's' before '://')")
    if ("cert" in found) != ("key" in found):
        raise ConfigurationError("the options 'cert' and 'key' are given together")
    return tuple(sorted(found.items()))
