"""Who refreshes: each service that loads whatever is due keeps a key for as long as it lives.

So whoever asks for a load can be told whether anybody will hear it. Who refreshes once and ends (from cron, say) leaves
none.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django_etcdaero.datasets.layout import REFRESHERS
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.recipes.temporary import TemporaryKey
from django_etcdaero.system.processes import is_dead, this_process

from .stored_value import StoredValue

TTL = 30
"""Seconds after which the key of a dead service is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresher(StoredValue):
    """A process that refreshes."""

    started: float
    """Seconds since the epoch."""
    schemas: dict[str, int]
    """Schema of each dataset that it refreshes."""
    process: dict[str, Any] | None = None
    """What shows on its host whether it still runs (:mod:`django_etcdaero.system.processes`)."""

    def refreshes(self, name: str, schema: int) -> bool:
        """Tell whether it does that dataset."""
        return self.schemas.get(name) == schema

    @property
    def who(self) -> str:
        """The process, as ``host/pid``."""
        return f"{self.host}/{self.pid}"


def register(kv: KV, schemas: Mapping[str, int], *, started: float) -> TemporaryKey:
    """Put the key; closing what is returned deletes it. Raises what the store raises."""
    key = f"{REFRESHERS}{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    value = Refresher(started=started, schemas=dict(schemas), process=this_process() or {})
    return kv.temporary_key(key, value.encode(), ttl=TTL)


def refreshers(kv: KV) -> list[Refresher]:
    """Return the services that refresh, ordered by host and pid. Raises what the store raises.

    Left out are those of this host that are known to have ended.
    """
    found = [Refresher.believe(item) for item in kv.range(REFRESHERS, prefix=True).kvs]
    living = [each for each in found if each is not None and not is_dead(each.process)]
    return sorted(living, key=lambda each: (each.host, each.pid))
