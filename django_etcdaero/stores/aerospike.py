"""A set of an Aerospike namespace as an address.

::

    aerospike://host:3000,host:3000/namespace/set
    aerospikes://user:password@host:4333/namespace/set?ca=ca.pem&name=cluster

What the client refuses without a call is refused here, where the setting can be named.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import SplitResult, unquote

from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.system.shown import shown_name

from . import url
from .address import Address, Reach
from .credentials import Credentials, Tls, both_or_none
from .endpoint import Endpoint, check_endpoint

PORT: Final = 3000
LONGEST_NAMESPACE: Final = 31
LONGEST_SET: Final = 63
"""Bytes: the server's limits (https://aerospike.com/docs/database/reference/limitations)."""

_NAME = re.compile(r"[!-~]+")
_NOT_IN_NAMES = re.compile(r"[:;|/=,]")  # they delimit names in the server's text commands


@dataclass(frozen=True, slots=True, kw_only=True)
class AerospikeAddress(Address):
    """A set. Raises ``ConfigurationError`` or ``TypeError`` for what cannot be one."""

    reach: ClassVar[Reach] = Reach.CLUSTER
    prefix_required: ClassVar[bool] = True

    endpoints: tuple[Endpoint, ...]
    """Some nodes of the cluster (its seed hosts)."""
    namespace: str
    set_name: str
    credentials: Credentials | None = None
    tls: Tls | None = None
    """``None``: the connections are not encrypted. Servers of the Enterprise Edition only."""

    def __post_init__(self) -> None:
        _check_name("namespace", "namespace", self.namespace, LONGEST_NAMESPACE)
        _check_name("set_name", "set", self.set_name, LONGEST_SET)
        credentials = self.credentials
        if credentials is not None and not all(
            text and text.isprintable() for text in (credentials.user, credentials.password)
        ):
            raise ConfigurationError("user and password are not empty and have printable characters only")

    def with_credentials(self, credentials: Credentials) -> AerospikeAddress:
        return dataclasses.replace(self, credentials=credentials)

    @property
    def credentials_given(self) -> bool:
        return self.credentials is not None

    @property
    def safe(self) -> str:
        scheme = "aerospike" if self.tls is None else "aerospikes"
        return f"{scheme}://{','.join(map(str, self.endpoints))}/{self.namespace}/{self.set_name}"


def address_of(
    hosts: Sequence[tuple[str, int]],
    *,
    namespace: str,
    set_name: str,
    user: str | None = None,
    password: str | None = None,
    tls: Tls | None = None,
) -> AerospikeAddress:
    """Make an address of pairs of host and port and of options. Raises ``ConfigurationError``, ``TypeError``."""
    if not hosts:
        raise ConfigurationError("hosts is empty: name at least one node of the Aerospike cluster")
    return AerospikeAddress(
        endpoints=tuple(check_endpoint(host) for host in hosts),
        namespace=namespace,
        set_name=set_name,
        credentials=both_or_none(user, password),
        tls=tls,
    )


def parse(parts: SplitResult, base_dir: Path | None, *, encrypted: bool) -> AerospikeAddress:
    """Read a URL. Raises ``ConfigurationError`` without quoting it."""
    names = [unquote(name) for name in parts.path.strip("/").split("/")]
    if len(names) != 2 or not all(names):
        raise ConfigurationError("the hosts are followed by /namespace/set")
    endpoints, credentials = url.read_servers(parts, port=PORT)
    options = url.read_options(parts, (*url.TLS_FILES, "name"))
    return AerospikeAddress(
        endpoints=endpoints,
        namespace=names[0],
        set_name=names[1],
        credentials=credentials,
        tls=url.read_tls(options, base_dir, encrypted=encrypted),
    )


def _check_name(field: str, what: str, name: object, limit: int) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{field} must be str, not {type(name).__name__}")
    if not _NAME.fullmatch(name) or _NOT_IN_NAMES.search(name):
        raise ConfigurationError(
            f"{field} {shown_name(name)}: the {what} must be of ASCII characters other than spaces and : ; | / = ,"
        )
    if len(name) > limit:
        raise ConfigurationError(f"{field}: the {what} has {len(name)} bytes, Aerospike takes {limit}")
