"""What all addresses of stores have in common. An address says where a store is and how to get in."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final

from django_etcdaero.exceptions import ConfigurationError

if TYPE_CHECKING:
    from .credentials import Credentials

RECORDS_ROOM: Final = "records/"
"""Where the records of an alias stand below its ``PREFIX``, in a store that may hold its keys too."""


class Plane(enum.Enum):
    """What a store is used for; the values are the keys in ``settings.ETCDAERO``."""

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


class Address(ABC):
    """The place of a store. Equal addresses are the same store, however their URLs were spelled.

    An address is made when the settings are read, and given as it is to what opens the store. Its ``repr`` has no
    credentials.
    """

    __slots__ = ()

    reach: ClassVar[Reach]
    """Who else sees what is written there."""

    prefix_required: ClassVar[bool] = False
    """Whether a ``PREFIX`` must be chosen, because other projects or deployments may use the same store."""

    def of_alias(self, prefix: str) -> Address:
        """Return the address for the alias of this ``PREFIX``, without slashes at its ends: mostly the same one."""
        return self

    def with_credentials(self, credentials: Credentials) -> Address:
        """Return the address with user and password. Raises ``ConfigurationError`` where there are none."""
        raise ConfigurationError(f"{self.safe} takes no user and no password")

    @property
    def credentials_given(self) -> bool:
        """Whether it has user and password."""
        return False

    @property
    def on_this_host(self) -> bool:
        """Whether no other host can see what is written there."""
        return self.reach is not Reach.CLUSTER

    @property
    @abstractmethod
    def safe(self) -> str:
        """The URL in its one canonical spelling, without credentials and options: for logs, errors and pages."""


def is_split(kv: Address, records: Address) -> bool:
    """Tell whether other hosts see the announcements in ``kv``, but not the records that these name."""
    return records.on_this_host and not kv.on_this_host
