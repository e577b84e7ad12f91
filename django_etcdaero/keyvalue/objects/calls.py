"""The steps of an operation on objects: what it asks for from outside, carried out for threads or for asyncio."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django_etcdaero.exceptions import DeadlineExceeded, EtcdAeroError
from django_etcdaero.keyvalue.client.background import logger
from django_etcdaero.keyvalue.client.steps import Commit, Step
from django_etcdaero.keyvalue.recipes.contention import Read
from django_etcdaero.keyvalue.values import RangeRequest, TxnRequest

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.facade import KV

_SHORTEST = 0.1
"""Seconds that tidying up may take even when the operation's time is over."""


class Grant(Step):
    """Grant a lease that nobody renews; the answer is its id."""

    def __init__(self, kv: KV, ttl: int, timeout: float | None) -> None:
        self._kv = kv
        self._ttl = ttl
        self._timeout = timeout

    def block(self) -> Any:
        return self._kv.open_engine().lease_grant(self._ttl, timeout=self._timeout).id

    async def suspend(self) -> Any:
        return (await self._kv.open_engine().alease_grant(self._ttl, timeout=self._timeout)).id


class Revoke(Step):
    """End a lease that nothing was put on. A failure is no error: it runs out by itself."""

    def __init__(self, kv: KV, lease: int, timeout: float | None) -> None:
        self._kv = kv
        self._lease = lease
        self._timeout = timeout

    def block(self) -> Any:
        try:
            self._kv.open_engine().lease_revoke(self._lease, timeout=self._timeout)
        except EtcdAeroError as error:
            self._tell(error)

    async def suspend(self) -> Any:
        try:
            await self._kv.open_engine().alease_revoke(self._lease, timeout=self._timeout)
        except EtcdAeroError as error:
            self._tell(error)

    def _tell(self, error: EtcdAeroError) -> None:
        logger.debug("lease %x of an object that was not written: %s", self._lease, error)


class Call(Step):
    """Call the user's function, which may be a coroutine function where asyncio runs the operation."""

    def __init__(self, function: Callable[[Any], Any], argument: Any) -> None:
        self._function = function
        self._argument = argument

    def block(self) -> Any:
        return self._function(self._argument)

    async def suspend(self) -> Any:
        answer = self._function(self._argument)
        return await answer if inspect.isawaitable(answer) else answer


class Calls:
    """Makes the steps of one operation, which share the time that it may take."""

    def __init__(self, kv: KV, timeout: float | None) -> None:
        """``timeout`` is in seconds from now; ``None`` is the engine's default for each call."""
        self._kv = kv
        self._limit = None if timeout is None else time.monotonic() + timeout

    def left(self) -> float | None:
        """Return the seconds left, ``None`` if there is no limit. Raises ``DeadlineExceeded``."""
        if self._limit is None:
            return None
        left = self._limit - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("the operation on objects was not done in time")
        return left

    def txn(self, request: TxnRequest) -> Step:
        """Run a transaction; the answer is its result."""
        txn = self._kv.txn().when(*request.compares).then(*request.success).otherwise(*request.failure)
        return Commit(txn, self.left())

    def read(self, request: RangeRequest) -> Step:
        """Read keys; the answer is the result."""
        return Read(self._kv, request, self.left())

    def grant(self, ttl: int) -> Step:
        """Grant a lease of ``ttl`` seconds that nobody renews; the answer is its id."""
        return Grant(self._kv, ttl, self.left())

    def revoke(self, lease: int) -> Step:
        """End a lease that nothing was put on; so little is always time for, in place of another's error."""
        left = None if self._limit is None else max(_SHORTEST, self._limit - time.monotonic())
        return Revoke(self._kv, lease, left)
