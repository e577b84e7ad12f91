"""Records in an etcd cluster as an address.

::

    etcd://host:2379,host:2379
    etcd://host:2379/path
    etcds://user:password@host:2379/path?ca=ca.pem&entries=20000&value=500000

Hosts and options are those of :mod:`.etcd`; ``http`` and ``https`` may be written too. Keys begin with the room:
``/path/``, if there is a path, which no key of an alias does; then, for the records of an alias, its ``PREFIX`` and
``records/``.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import SplitResult

from django_etcdaero.exceptions import ConfigurationError

from .address import RECORDS_ROOM, Address, Reach
from .credentials import Credentials
from .etcd import EtcdAddress, read

DEFAULT_MAX_ENTRIES: Final = 100_000
"""Records: some hundred megabytes of blocks of datasets, in the 2 GiB that etcd takes by default."""
MOST_ENTRIES: Final = 10_000_000

DEFAULT_MAX_VALUE_BYTES: Final = 1_000_000
MOST_VALUE_BYTES: Final = 1_500_000
"""A little less than etcd takes in one request by default (1.5 MiB), with the keys."""

FORMS: Final = "etcd://host:port,host:port/path"
ENCRYPTED_FORMS: Final = "etcds://host:port,host:port/path?ca=ca.pem"

_PATH = re.compile(r"(/[A-Za-z0-9_.-]+)*/?")
_LONGEST_PATH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdRecordsAddress(Address):
    """A room for records in a cluster."""

    reach: ClassVar[Reach] = Reach.CLUSTER
    prefix_required: ClassVar[bool] = True

    cluster: EtcdAddress
    path: str = ""
    """``/path`` of the URL, or empty."""
    prefix: str = ""
    """The ``PREFIX`` of the alias; empty: the records belong to none."""
    max_entries: int = field(default=DEFAULT_MAX_ENTRIES, compare=False)
    max_value_bytes: int = field(default=DEFAULT_MAX_VALUE_BYTES, compare=False)

    def with_credentials(self, credentials: Credentials) -> EtcdRecordsAddress:
        return dataclasses.replace(self, cluster=self.cluster.with_credentials(credentials))

    @property
    def credentials_given(self) -> bool:
        return self.cluster.credentials_given

    @property
    def safe(self) -> str:
        return self.cluster.safe + self.path

    @property
    def room(self) -> str:
        """How all keys begin. Raises ``ConfigurationError`` when neither a path nor an alias says it."""
        if not (self.path or self.prefix):
            raise ConfigurationError(f"{self.safe}: without an alias of ETCDAERO a path must follow the hosts")
        return (f"{self.path}/" if self.path else "") + (f"{self.prefix}/{RECORDS_ROOM}" if self.prefix else "")

    @property
    def on_this_host(self) -> bool:
        return self.cluster.on_this_host

    def of_alias(self, prefix: str) -> EtcdRecordsAddress:
        return dataclasses.replace(self, prefix=prefix)


def parse(parts: SplitResult, base_dir: Path | None, *, encrypted: bool) -> EtcdRecordsAddress:
    """Read a URL, or several joined by commas. Raises ``ConfigurationError`` without quoting it."""
    cluster, path, options = read(parts, base_dir, encrypted=encrypted, more=("entries", "value"))
    if not _PATH.fullmatch(path) or len(path) > _LONGEST_PATH:
        raise ConfigurationError(
            f"the path has 1 to {_LONGEST_PATH} letters, digits, '_', '.' and '-', and single slashes between them"
        )
    return EtcdRecordsAddress(
        cluster=cluster,
        path=path.rstrip("/"),
        max_entries=_number(options, "entries", DEFAULT_MAX_ENTRIES, MOST_ENTRIES),
        max_value_bytes=_number(options, "value", DEFAULT_MAX_VALUE_BYTES, MOST_VALUE_BYTES),
    )


def _number(options: dict[str, str], name: str, default: int, most: int) -> int:
    text = options.get(name)
    if text is None:
        return default
    if not re.fullmatch("[0-9]{1,8}", text) or not 1 <= int(text) <= most:
        raise ConfigurationError(f"the option {name!r} is a whole number from 1 to {most}")
    return int(text)
