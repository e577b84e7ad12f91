"""Asking for a load: the ``request`` key, and when it counts as answered."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django_etcdaero.exceptions import ResponseError
from django_etcdaero.keyvalue.txn import mod_revision, put
from django_etcdaero.keyvalue.values import KeyValue

from .announcement import known_fields

if TYPE_CHECKING:
    from django_etcdaero.datasets.declared import Declared
    from django_etcdaero.datasets.stores import Stores

logger = logging.getLogger("django_etcdaero.datasets")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """The value under ``request``."""

    at: float
    host: str
    pid: int
    repair: bool
    """The stored blocks must be read back and checked, because a reader found some missing or damaged."""
    wanted: bool = False
    """A repair, and somebody had asked for a load before it."""
    mod_revision: int = 0
    """Revision of the request itself; not part of the stored value."""

    @property
    def by_person(self) -> bool:
        """Whether not only readers want it."""
        return self.wanted or not self.repair

    @classmethod
    def read(cls, kv: KeyValue) -> LoadRequest | None:
        """Read a stored request; one that makes no sense is as good as none."""
        try:
            return dataclasses.replace(cls(**known_fields(cls, kv.value, "request")), mod_revision=kv.mod_revision)
        except ResponseError as error:
            logger.warning("%s is ignored: %s", kv.key.decode(errors="replace"), error)
            return None

    def encode(self) -> bytes:
        """Return the value to store."""
        fields = dataclasses.asdict(self)
        del fields["mod_revision"]
        return json.dumps(fields, sort_keys=True).encode()


def request_load(dataset: Declared[Any, Any], stores: Stores, *, repair: bool) -> None:
    """Put a request for a load; a pending request for a repair stays one."""
    key = dataset.layout(stores.prefix).request
    while True:
        before = stores.kv.get(key)
        pending = LoadRequest.read(before) if before is not None else None
        request = LoadRequest(
            at=time.time(),
            host=socket.gethostname(),
            pid=os.getpid(),
            repair=repair or (pending is not None and pending.repair),
            wanted=not repair or (pending is not None and pending.by_person),
        )
        seen = before.mod_revision if before else 0
        done = stores.kv.txn().when(mod_revision(key) == seen).then(put(key, request.encode())).commit()
        if done.succeeded:
            return
