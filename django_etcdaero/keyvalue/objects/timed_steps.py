"""The steps of an operation on objects, which share the time that it may take."""

from __future__ import annotations

import time

from django_etcdaero.exceptions import DeadlineExceeded, EtcdAeroError
from django_etcdaero.keyvalue.client.background import logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.steps import Read
from django_etcdaero.keyvalue.values import DeleteResult, RangeRequest, RangeResult, TxnRequest, TxnResult
from django_etcdaero.system.steps import Call, Step

_SHORTEST = 0.1
"""Seconds that tidying up may take even when the operation's time is over."""


class TimedSteps:
    """Makes the steps of one operation, which share the time that it may take."""

    def __init__(self, client: Client, timeout: float | None) -> None:
        """``timeout`` is in seconds from now; ``None`` is the engine's default for each call."""
        self._client = client
        self._limit = None if timeout is None else time.monotonic() + timeout

    def left(self) -> float | None:
        """Return the seconds left, ``None`` if there is no limit. Raises ``DeadlineExceeded``."""
        if self._limit is None:
            return None
        left = self._limit - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("the operation on objects was not done in time")
        return left

    def txn(self, request: TxnRequest) -> Step[TxnResult]:
        """Run a transaction; the answer is its result."""
        return Call(self._client.txn_run, self._client.atxn_run, request, self.left())

    def read(self, request: RangeRequest) -> Step[RangeResult]:
        """Read keys; the answer is the result."""
        return Read(self._client, request, self.left())

    def delete(self, start: bytes, end: bytes) -> Step[DeleteResult]:
        """Delete keys; the answer is the result."""
        return Call(self._client.delete_range, self._client.adelete_range, start, end or None, timeout=self.left())

    async def grant(self, ttl: int) -> int:
        """Grant a lease of ``ttl`` seconds that nobody renews; return its id."""
        engine = self._client.open_engine()
        return (await Call(engine.lease_grant, engine.alease_grant, ttl, timeout=self.left())).id

    async def revoke(self, lease: int) -> None:
        """End a lease that nothing was put on; so little is always time for, in place of another's error.

        A failure is no error: it runs out by itself.
        """
        left = None if self._limit is None else max(_SHORTEST, self._limit - time.monotonic())
        try:
            engine = self._client.open_engine()
            await Call(engine.lease_revoke, engine.alease_revoke, lease, timeout=left)
        except EtcdAeroError as error:
            logger.debug("lease %x of an object that was not written: %s", lease, error)
