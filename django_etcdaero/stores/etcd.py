"""An etcd cluster as an address.

::

    etcd://host:2379,host:2379,[::1]:2379
    etcd://host:2379?sync=60
    etcds://user:password@host:2379?ca=ca.pem&cert=client.pem&key=client-key.pem
    http://host:2379,http://host:2379

``etcds`` and ``https`` are encrypted; the latter two are how etcd's own tools write addresses.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import SplitResult

from django_etcdaero.exceptions import ConfigurationError

from . import url
from .address import Address, Reach
from .credentials import Credentials, Tls, both_or_none
from .endpoint import Endpoint, parse_endpoint

PORT: Final = 2379
LONGEST_SYNC: Final = 86_400
"""Seconds: a day."""

_NEXT_URL = re.compile(r"/?,(?=[A-Za-z][A-Za-z0-9+.-]*://)")


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdAddress(Address):
    """A cluster, by some of its members. Raises ``ConfigurationError`` for what cannot be one."""

    reach: ClassVar[Reach] = Reach.CLUSTER
    prefix_required: ClassVar[bool] = True

    endpoints: tuple[Endpoint, ...]
    credentials: Credentials | None = None
    tls: Tls | None = None
    """``None``: the connections are not encrypted."""
    sync: float | None = None
    """Seconds between two looks at the members of the cluster; ``None``: the endpoints stay as they are."""

    def __post_init__(self) -> None:
        if len(set(self.endpoints)) != len(self.endpoints):
            raise ConfigurationError("it names a host twice")

    def with_credentials(self, credentials: Credentials) -> EtcdAddress:
        return dataclasses.replace(self, credentials=credentials)

    @property
    def credentials_given(self) -> bool:
        return self.credentials is not None

    @property
    def safe(self) -> str:
        return f"{'etcd' if self.tls is None else 'etcds'}://{','.join(map(str, self.endpoints))}"

    @property
    def on_this_host(self) -> bool:
        return all(endpoint.is_loopback for endpoint in self.endpoints)


def address_of(
    endpoints: Sequence[str],
    *,
    user: str | None = None,
    password: str | None = None,
    tls: Tls | None = None,
    sync_members: float | None = None,
) -> EtcdAddress:
    """Make an address of members as ``host:port`` and options. Raises ``ConfigurationError``."""
    if isinstance(endpoints, str) or not endpoints:
        raise ConfigurationError("endpoints must be a list of at least one host:port")
    if sync_members is not None and not sync_members >= 1:
        raise ConfigurationError(f"sync_members must be at least 1 second, not {sync_members!r}")
    found = []
    for text in endpoints:
        try:
            found.append(parse_endpoint(text))
        except ConfigurationError as error:
            raise ConfigurationError(f"endpoint {text!r}: {error}") from None
    return EtcdAddress(endpoints=tuple(found), credentials=both_or_none(user, password), tls=tls, sync=sync_members)


def parse(parts: SplitResult, base_dir: Path | None, *, encrypted: bool) -> EtcdAddress:
    """Read a URL, or several joined by commas. Raises ``ConfigurationError`` without quoting it."""
    address, path, _ = read(parts, base_dir, encrypted=encrypted)
    if path not in ("", "/"):
        raise ConfigurationError("nothing may follow the hosts but options after '?'")
    return address


def read(
    parts: SplitResult, base_dir: Path | None, *, encrypted: bool, more: Sequence[str] = ()
) -> tuple[EtcdAddress, str, dict[str, str]]:
    """Read a URL, or several joined by commas: the cluster, the path, and what is given of the options in ``more``.

    Raises ``ConfigurationError`` without quoting it.
    """
    parts = _joined(parts)
    endpoints, credentials = url.read_servers(parts, port=PORT)
    options = url.read_options(parts, (*url.TLS_FILES, "sync", *more))
    others = {name: options.pop(name) for name in more if name in options}
    sync = options.pop("sync", None)
    tls = url.read_tls(options, base_dir, encrypted=encrypted)
    if sync is not None and not (re.fullmatch("[0-9]{1,5}", sync) and 1 <= int(sync) <= LONGEST_SYNC):
        raise ConfigurationError(f"the option 'sync' is 1 to {LONGEST_SYNC} whole seconds")
    address = EtcdAddress(endpoints=endpoints, credentials=credentials, tls=tls, sync=int(sync) if sync else None)
    return address, parts.path, others


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
