"""A table in one of the project's databases as an address: ``db:ALIAS``, or ``db:ALIAS/ROOM``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Final
from urllib.parse import SplitResult, quote, unquote

from django_etcdaero.exceptions import ConfigurationError

from .address import Address, Reach

FORMS: Final = "db:ALIAS (an alias of settings.DATABASES) or db:ALIAS/ROOM"
ROOM: Final = "records"
"""The room of an address that names none."""
LONGEST_ROOM: Final = 31

_ROOM = re.compile(r"[a-z0-9_-]+")  # in lower case: some databases take upper case for the same


@dataclass(frozen=True, slots=True)
class DatabaseAddress(Address):
    """A part of the table of records in a database. Raises ``ConfigurationError`` for what cannot be one."""

    reach: ClassVar[Reach] = Reach.CLUSTER
    prefix_required: ClassVar[bool] = True

    alias: str
    """Of ``settings.DATABASES``."""
    room: str = ROOM
    """Keeps records apart that share the table; what empties a store empties its room."""

    def __post_init__(self) -> None:
        if not self.alias:
            raise ConfigurationError("the alias of a database is missing")
        if not _ROOM.fullmatch(self.room) or len(self.room) > LONGEST_ROOM:
            raise ConfigurationError(f"a room has 1 to {LONGEST_ROOM} lower-case letters, digits, '_' and '-'")

    @property
    def safe(self) -> str:
        return f"db:{quote(self.alias, safe='')}" + ("" if self.room == ROOM else f"/{self.room}")


def parse(parts: SplitResult) -> DatabaseAddress:
    """Read ``db:ALIAS`` or ``db:ALIAS/ROOM``. Raises ``ConfigurationError``."""
    if parts.netloc or parts.path.startswith("/") or parts.query or parts.fragment:
        raise ConfigurationError("it has neither slashes before the alias nor options after '?' or '#'")
    alias, slash, room = parts.path.partition("/")
    return DatabaseAddress(unquote(alias), room) if slash else DatabaseAddress(unquote(alias))
