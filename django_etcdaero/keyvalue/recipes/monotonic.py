"""Reads that any one member may answer, and that never go back in time.

A serializable read asks no majority: it is fast, and works while the cluster has no leader. But a member that lags
behind may answer, with something older than what was read before. Here an answer that is older than what was seen is
asked for once more, from the majority.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TypeVar, Unpack

from django_etcdaero.exceptions import FutureRevision
from django_etcdaero.keyvalue import ops
from django_etcdaero.keyvalue.arguments import RangeOptions, check_count
from django_etcdaero.keyvalue.client.scope import Scope
from django_etcdaero.keyvalue.client.steps import Read
from django_etcdaero.keyvalue.keys import Text
from django_etcdaero.keyvalue.values import KeyValue, RangeRequest, RangeResult
from django_etcdaero.system.acting import acts
from django_etcdaero.system.twins import twins

D = TypeVar("D")


class MonotonicReads:
    """Serializable reads each of which is at least as new as the one before; made with
    :meth:`KV.monotonic_reads() <django_etcdaero.keyvalue.facade.KV.monotonic_reads>`.

    Safe to share between threads: what one has seen holds for all. An answer may still be older than what was written
    elsewhere meanwhile. Raises what reading raises; while there is no majority, ``ClusterError`` or
    ``DeadlineExceeded`` where no member that can be had is far enough.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._mutex = threading.Lock()
        self._revision = 0

    def __repr__(self) -> str:
        return f"<MonotonicReads, revision {self._revision}>"

    @property
    def revision(self) -> int:
        """What was seen: no read from now on is older. 0: nothing was."""
        return self._revision

    @acts
    def see(self, revision: int) -> None:
        """Take note that this revision was seen: that of a write of one's own, or one that a browser brought along."""
        check_count("revision", revision)
        with self._mutex:
            self._revision = max(self._revision, revision)

    async def _get(
        self, key: Text, default: D | None = None, *, revision: int = 0, timeout: float | None = None
    ) -> KeyValue | D | None:
        """Return a key with its value, ``default`` (as it is) if there is no such key."""
        kvs = (await self._read(ops.get(key, revision=revision, serializable=True), timeout)).kvs
        return kvs[0] if kvs else default

    get, aget = twins(_get)

    async def _range(
        self,
        key: Text,
        range_end: Text | None = None,
        *,
        timeout: float | None = None,
        **options: Unpack[RangeOptions],
    ) -> RangeResult:
        """Read keys as :meth:`KV.range() <django_etcdaero.keyvalue.facade.KV.range>` does; they are serializable."""
        if "serializable" in options:
            raise TypeError("these reads are serializable, which is no option")
        options["serializable"] = True
        return await self._read(ops.get(key, range_end, **options), timeout)

    range, arange = twins(_range)

    async def _read(self, request: RangeRequest, timeout: float | None) -> RangeResult:
        seen = self._revision
        try:
            result = await Read(self._scope, request, timeout)
            if result.revision >= seen:
                self.see(result.revision)
                return result
        except FutureRevision:  # this member has not got there yet, or there is no such revision
            pass
        request = replace(request, serializable=False)
        result = await Read(self._scope, request, timeout)
        with self._mutex:
            if result.revision < seen == self._revision:  # the store was replaced, and has a history of its own
                self._revision = result.revision
        self.see(result.revision)
        return result
