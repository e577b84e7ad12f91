"""Where the records are and how to get there, checked before anything is tried."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django_etcdaero.exceptions import ConfigurationError

MAX_NAMESPACE_BYTES, MAX_SET_BYTES = 31, 63
"""The server's limits (https://aerospike.com/docs/database/reference/limitations)."""

MAX_CONNECTIONS = 100
"""Connections to a node that this process opens at most; calls beyond wait for one.

A node takes 15,000 by default (proto-fd-max) of all processes together.
"""

_NAME = re.compile(r"[!-~]+")
_NAME_FORBIDDEN = re.compile(r"[:;|/=,]")  # they delimit names in the server's text commands
_HOST = re.compile(r"[A-Za-z0-9_.:%-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How to encrypt the connections (servers of the Enterprise Edition only). Paths are of PEM files."""

    ca: str | None = None
    """Certificates to trust; ``None``: those of the system."""
    cert: str | None = None
    """The client's own certificate chain."""
    key: str | None = None
    """The private key of ``cert``."""
    name: str | None = None
    """Name that the servers' certificates must have (a DNS or common name; addresses in certificates do not count);
    ``None``: the host's."""


@dataclass(frozen=True, slots=True)
class Target:
    """A set of a namespace of a cluster. Raises ``ConfigurationError`` or ``TypeError`` for what cannot be one."""

    hosts: Sequence[tuple[str, int]]
    namespace: str
    set_name: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None

    def __post_init__(self) -> None:
        if not self.hosts:
            raise ConfigurationError("hosts is empty: name at least one node of the Aerospike cluster")
        for host in self.hosts:
            _check_host(host)
        _check_name("namespace", self.namespace, MAX_NAMESPACE_BYTES)
        _check_name("set_name", self.set_name, MAX_SET_BYTES)
        if (self.user is None) != (self.password is None):
            raise ConfigurationError("user and password go together: give both or neither")
        for name, text in (("user", self.user), ("password", self.password)):
            if text is not None and not (text and text.isprintable()):
                raise ConfigurationError(f"{name} is empty or contains characters that cannot be sent")
        if self.tls is not None and (self.tls.cert is None) != (self.tls.key is None):
            raise ConfigurationError("tls: cert and key go together: give both or neither")

    @property
    def url(self) -> str:
        """The target as a URL, without credentials."""
        scheme = "aerospike" if self.tls is None else "aerospikes"
        return f"{scheme}://{','.join(map(spell, self.hosts))}/{self.namespace}/{self.set_name}"

    def check_files(self) -> None:
        """Raise ``ConfigurationError`` that names a TLS file which cannot be read. The native client names none."""
        if self.tls is None:
            return
        for name, path in (("ca", self.tls.ca), ("cert", self.tls.cert), ("key", self.tls.key)):
            if path is None:
                continue
            try:
                Path(path).read_bytes()
            except OSError as error:
                raise ConfigurationError(f"{self.url}: the TLS file {name} cannot be read: {error}") from error

    def client_config(
        self, hosts: Sequence[tuple[str, int]], connect_timeout: float, *, must_connect: bool = False
    ) -> dict[str, Any]:
        """Return the configuration of the native client, which tries ``hosts`` in their order.

        One that must connect fails when it cannot, and also when the first of several hosts is down and the next is a
        cluster of one node. Another goes on trying by itself.
        """
        config: dict[str, Any] = {
            "hosts": list(hosts),
            "connect_timeout": round(connect_timeout * 1000),
            "max_conns_per_node": MAX_CONNECTIONS,
            "fail_if_not_connected": must_connect,
        }
        if self.user is not None:
            config |= {"user": self.user, "password": self.password}
        if self.tls is not None:
            config["hosts"] = [(host, port, self.tls.name or host) for host, port in hosts]
            files = {"cafile": self.tls.ca, "certfile": self.tls.cert, "keyfile": self.tls.key}
            config["tls"] = {"enable": True, **{name: path for name, path in files.items() if path is not None}}
        return config


def spell(host: tuple[str, int]) -> str:
    """Return ``host:port`` as in a URL."""
    name, port = host
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _check_host(host: object) -> None:
    if not isinstance(host, tuple) or len(host) != 2:
        raise TypeError(f"hosts: {host!r} is not a pair of host name and port")
    name, port = host
    if not isinstance(name, str) or not _HOST.fullmatch(name):
        raise ConfigurationError(f"hosts: {name!r} is not a host name or address")
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise ConfigurationError(f"hosts: {port!r} is not a port")


def _check_name(what: str, name: object, limit: int) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{what} must be str, not {type(name).__name__}")
    if not _NAME.fullmatch(name) or _NAME_FORBIDDEN.search(name):
        raise ConfigurationError(f"{what} {name!r} must be made of ASCII characters other than spaces and : ; | / = ,")
    if len(name) > limit:
        raise ConfigurationError(f"{what} {name!r} has {len(name)} bytes, Aerospike takes {limit}")
