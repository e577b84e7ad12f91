"""One server: host and port."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from django_etcdaero.exceptions import ConfigurationError

_ENDPOINT = re.compile(
    r"(?:\[(?P<address>[0-9A-Fa-f:.%]+)\]|(?P<name>[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?))(?::(?P<port>[0-9]{1,5}))?"
)
_HOST = re.compile(r"[A-Za-z0-9_.:%-]+")


class Endpoint(NamedTuple):
    """The address of one server."""

    host: str
    """Name in lower case, or IP address (IPv6 without brackets)."""
    port: int

    @property
    def bracketed(self) -> str:
        """The host as it is written before a colon and a port."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def is_loopback(self) -> bool:
        """Whether each host that is told this address finds itself there."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"{self.bracketed}:{self.port}"


def parse_endpoint(text: str, *, default_port: int | None = None) -> Endpoint:
    """Read ``host:port`` (IPv6 addresses in brackets); without ``default_port`` the port must be there.

    Raises ``ConfigurationError`` with a message that does not quote ``text``, which may have a password in it.
    """
    match = _ENDPOINT.fullmatch(text)
    port = int(match["port"] or default_port or 0) if match else 0
    if match is None or not 0 < port < 65536:
        raise ConfigurationError("hosts are written host:port, separated by commas (an IPv6 address in brackets)")
    if match["name"]:
        return Endpoint(match["name"].lower(), port)
    try:
        return Endpoint(str(ipaddress.IPv6Address(match["address"])), port)
    except ValueError:
        raise ConfigurationError("there is no valid IPv6 address in the brackets") from None


def check_endpoint(pair: object) -> Endpoint:
    """Return ``pair`` of host and port as an endpoint. Raises ``TypeError``, ``ConfigurationError``."""
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise TypeError(f"hosts: {pair!r} is not a pair of host name and port")
    host, port = pair
    if not isinstance(host, str) or not _HOST.fullmatch(host):
        raise ConfigurationError(f"hosts: {host!r} is not a host name or address")
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise ConfigurationError(f"hosts: {port!r} is not a port")
    return Endpoint(host, port)
