"""What an alias keeps of all its datasets, read in a few calls: for who looks at every dataset at once.

Reading dataset by dataset takes some calls for each. Here all keys of the datasets are read in pages, as of one
revision, and a client answers from them what is asked for afterwards: it is used in the place of the alias's own.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from django_etcdaero.datasets.layout import CACHES, PROCESSES, RESERVED
from django_etcdaero.exceptions import Compacted, FutureRevision
from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.values import KeyValue, RangeRequest, RangeResult, SortOrder, SortTarget
from django_etcdaero.stores.address import RECORDS_ROOM

TRIES = 3
"""How often the keys are read when their revision is compacted away meanwhile."""

_ROOMS = tuple(room for room in RESERVED if room not in (CACHES, PROCESSES, RECORDS_ROOM))
"""How the keys of datasets begin."""


def read_ahead(kv: KV) -> KV:
    """Return a client that reads the keys of datasets as they are now, without asking the store again.

    It writes nothing there, and asks ``kv`` for other keys. Raises what the store raises.
    """
    tries = 0
    while True:
        revision = kv.range(_ROOMS[0], prefix=True, count_only=True).revision
        try:
            found = [item for room in _ROOMS for item in kv.iterate(room, prefix=True, revision=revision)]
        except (Compacted, FutureRevision):
            tries += 1
            if tries == TRIES:
                raise
        else:
            return KV(cast("Engine", _Held(kv, found, revision)))


class _Held:
    """The engine of such a client. All that is no range of keys held is asked of the engine behind."""

    def __init__(self, kv: KV, found: Sequence[KeyValue], revision: int) -> None:
        self._kv = kv
        self._found = sorted(found)
        self._keys = [item.key for item in self._found]
        self._revision = revision

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kv.engine, name)

    def range(self, request: RangeRequest, *, timeout: float | None = None) -> RangeResult:
        if not self._holds(request):
            return self._kv.range(
                request.key,
                request.range_end or None,
                timeout=timeout,
                limit=request.limit,
                revision=request.revision,
                keys_only=request.keys_only,
                sort_order=request.sort_order,
                sort_target=request.sort_target,
            )
        start = bisect.bisect_left(self._keys, request.key)
        end = bisect.bisect_left(self._keys, request.range_end or request.key + b"\0")
        found = self._found[start:end]
        if request.sort_target is SortTarget.CREATE:
            found.sort(key=lambda item: item.create_revision, reverse=request.sort_order is SortOrder.DESCEND)
        kept = found[: request.limit] if request.limit else found
        return RangeResult(tuple(kept), len(kept) < len(found), len(found), self._revision)

    def _holds(self, request: RangeRequest) -> bool:
        plain = replace(
            request, limit=0, revision=0, keys_only=False, sort_order=SortOrder.NONE, sort_target=SortTarget.KEY
        )
        return (
            plain == RangeRequest(request.key, request.range_end)
            and request.revision in (0, self._revision)
            and request.sort_target in (SortTarget.KEY, SortTarget.CREATE)
            and (request.sort_target is SortTarget.CREATE or request.sort_order is not SortOrder.DESCEND)
            and any(request.key.startswith(room.encode()) for room in _ROOMS)
        )
