"""Where a cluster is and how to reach it: endpoints, TLS files, channel options."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from django_etcdaero.exceptions import ConfigurationError, InvalidRequest

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of one member."""

    host: str
    """Host name or IP address; an IPv6 address is in brackets."""
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files for an encrypted connection, as paths of PEM files."""

    ca: str | None = None
    """Certificates of the authorities to trust; ``None``: those that gRPC brings along."""
    cert: str | None = None
    """Certificate that the client shows, for servers that ask for one."""
    key: str | None = None
    """Private key of ``cert``, without a passphrase."""

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ConfigurationError("cert and key are given together or not at all")


CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # A range may be larger than gRPC's default of 4 MiB.
    ("grpc.max_receive_message_length", -1),
    # Finds a member that is frozen, or a connection that some firewall forgot, in 13 seconds. Without ping_timeout_ms
    # it takes a minute more. etcd closes connections that ping more often than every 5 seconds.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.http2.max_pings_without_data", 0),
    # The time allowed for connecting, in spite of its name; then how long to wait until the next try.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Servers compress only for clients that say they understand it. Not to say so saves a step of every call.
    ("grpc.per_message_compression", 0),
    ("grpc.per_message_decompression", 0),
    # Proxies that the environment names (http_proxy and the like) are for other sites: through one the members are not
    # reachable as a rule, and where they are it could read names and passwords.
    ("grpc.enable_http_proxy", 0),
    # What is closed before a fork must not live on in a pool that all channels of the process share.
    ("grpc.use_local_subchannel_pool", 1),
)


def parse_endpoints(endpoints: Sequence[str]) -> tuple[Endpoint, ...]:
    """Read ``host:port`` (IPv6 addresses in brackets). Raises ``ConfigurationError`` for anything else."""
    if isinstance(endpoints, str) or not endpoints:
        raise ConfigurationError("endpoints must be a list of at least one host:port")
    found = tuple(_parse(text) for text in endpoints)
    if len(set(found)) != len(found):
        raise ConfigurationError("endpoints names a member twice")
    return found


def parse_endpoint(text: str) -> Endpoint:
    """Read ``host:port``, or the same as a URL. Raises ``InvalidRequest``."""
    try:
        return _parse(text.rpartition("://")[2].rstrip("/"))
    except ConfigurationError as error:
        raise InvalidRequest(str(error)) from None


def parse_client_url(url: str, *, encrypted: bool) -> Endpoint | None:
    """Return where a member says it serves clients; ``None`` if not over TCP, or not encrypted as it should be."""
    scheme, _, address = url.partition("://")
    try:
        return _parse(address.rstrip("/")) if scheme == ("https" if encrypted else "http") else None
    except ConfigurationError:
        return None


def _parse(text: str) -> Endpoint:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigurationError(f"endpoint {text!r} is not host:port")
    if host.startswith("[") and host.endswith("]"):
        try:
            return Endpoint(f"[{ipaddress.IPv6Address(host[1:-1])}]", int(port))
        except ValueError:
            raise ConfigurationError(f"endpoint {text!r} has no valid IPv6 address in its brackets") from None
    if not _HOST.fullmatch(host):
        raise ConfigurationError(f"endpoint {text!r} has no valid host name or address (IPv6 needs brackets)")
    return Endpoint(host.lower(), int(port))
