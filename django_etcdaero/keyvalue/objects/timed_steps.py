"""The steps of an operation on objects, which share the time that it may take."""

from __future__ import annotations

from collections.abc import Callable

from django_etcdaero.exceptions import DeadlineExceeded, EtcdAeroError
from django_etcdaero.keyvalue.arguments import end_of
from django_etcdaero.keyvalue.client.background import logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.lease import check_ttl
from django_etcdaero.keyvalue.client.steps import Read
from django_etcdaero.keyvalue.ops import get
from django_etcdaero.keyvalue.values import DeleteResult, KeyValue, RangeRequest, RangeResult, TxnRequest, TxnResult
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.steps import Call, Step

PAGE = 500
"""Objects that are read with one request."""

_SHORTEST = 0.1
"""Seconds that tidying up may take even when the operation's time is over."""


class TimedSteps:
    """Makes the steps of one operation, which share the time that it may take."""

    def __init__(self, client: Client, timeout: float | None) -> None:
        """``timeout`` is in seconds from now; ``None`` is the engine's default for each call."""
        self._client = client
        self._limit = end_of(timeout)

    def left(self) -> float | None:
        """Return the seconds left, ``None`` if there is no limit. Raises ``DeadlineExceeded``."""
        if self._limit is None:
            return None
        left = self._limit - monotonic()
        if left <= 0:
            raise DeadlineExceeded("the operation on objects was not done in time")
        return left

    def txn(self, request: TxnRequest) -> Step[TxnResult]:
        """Run a transaction; the answer is its result."""
        return Call(self._client.txn_run, self._client.atxn_run, request, self.left())

    def read(self, request: RangeRequest) -> Step[RangeResult]:
        """Read keys; the answer is the result."""
        return Read(self._client, request, self.left())

    async def visit(
        self, start: bytes, end: bytes, *, revision: int, take: Callable[[KeyValue], bool], keys_only: bool = False
    ) -> int:
        """Give the keys of a range to ``take``, in order, until it returns ``True``; return their revision."""
        while True:
            page = await self.read(get(start, end or None, limit=PAGE, revision=revision, keys_only=keys_only))
            revision = revision or page.revision
            if any(map(take, page.kvs)) or not page.more:
                return revision
            start = page.kvs[-1].key + b"\0"

    def delete(self, start: bytes, end: bytes) -> Step[DeleteResult]:
        """Delete keys; the answer is the result."""
        return Call(self._client.delete_range, self._client.adelete_range, start, end or None, timeout=self.left())

    async def grant(self, ttl: int | None) -> int:
        """Grant a lease of ``ttl`` seconds that nobody renews; return its id, 0 if there is to be none."""
        if ttl is None or (type(ttl) is int and ttl == 0):
            return 0
        check_ttl(ttl)
        engine = self._client.open_engine()
        return (await Call(engine.lease_grant, engine.alease_grant, ttl, timeout=self.left())).id

    async def revoke(self, lease: int) -> None:
        """End a lease (0: none) that nothing was put on; so little is always time for, in place of another's error.

        A failure is no error: it runs out by itself.
        """
        if not lease:
            return
        left = None if self._limit is None else max(_SHORTEST, self._limit - monotonic())
        try:
            engine = self._client.open_engine()
            await Call(engine.lease_revoke, engine.alease_revoke, lease, timeout=left)
        except EtcdAeroError as error:
            logger.debug("lease %x of an object that was not written: %s", lease, error)
