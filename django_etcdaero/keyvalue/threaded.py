"""Awaitable twins of an engine's calls, for engines that have blocking ones only: a few threads make the calls."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from django_etcdaero.system.pool import Pool

from .arguments import check_seconds

if TYPE_CHECKING:
    from .values import (
        DeleteRequest,
        DeleteResult,
        LeaseStatus,
        PutRequest,
        PutResult,
        RangeRequest,
        RangeResult,
        TxnRequest,
        TxnResult,
        WatchRequest,
        WatchSink,
    )

T = TypeVar("T")

_STOP_TIMEOUT = 5.0
"""Seconds that closing waits for calls under way."""


class WatchHandle(ABC):
    """A running watch."""

    @abstractmethod
    def cancel(self) -> None:
        """End the watch. Idempotent, returns at once; no batch is delivered after it returned.

        Called from inside the sink it lets the current call finish.
        """


class BlockingCalls(Protocol):
    """The part of an engine for threads."""

    def range(self, request: RangeRequest, *, timeout: float | None) -> RangeResult: ...
    def put(self, request: PutRequest, *, timeout: float | None) -> PutResult: ...
    def delete_range(self, request: DeleteRequest, *, timeout: float | None) -> DeleteResult: ...
    def txn(self, request: TxnRequest, *, timeout: float | None) -> TxnResult: ...
    def compact(self, revision: int, *, physical: bool, timeout: float | None) -> None: ...
    def lease_grant(self, ttl: int, *, lease_id: int, timeout: float | None) -> LeaseStatus: ...
    def lease_revoke(self, lease_id: int, *, timeout: float | None) -> None: ...
    def lease_keep_alive(self, lease_id: int, *, timeout: float | None) -> int: ...
    def lease_time_to_live(self, lease_id: int, *, keys: bool, timeout: float | None) -> LeaseStatus: ...
    def lease_list(self, *, timeout: float | None) -> tuple[int, ...]: ...
    def watch(self, request: WatchRequest, sink: WatchSink, *, timeout: float | None) -> WatchHandle: ...


class ThreadedCalls:
    """The part of the waist for event loops. Each method is the blocking one of the same name, and raises the same.

    Cancelling the waiting task gives the call up: a read has no effect; a write may be applied or not, as one whose
    answer was lost. An engine overrides what it can do without threads.
    """

    default_timeout: float = 5.0
    """Seconds that a call without a timeout may take."""

    async def in_thread(self, call: Callable[[float], T], *, timeout: float | None = None) -> T:
        """Return ``call(left)``, made in a thread of the engine; ``left`` are the seconds that are left for it.

        For what is rare and has no twin here. Raises what ``call`` raises, ``DeadlineExceeded`` and ``Cancelled``.
        """
        seconds = self.default_timeout if timeout is None else check_seconds("timeout", timeout)
        return await self._threads().run(call, timeout=seconds)

    async def arange(self, request: RangeRequest, *, timeout: float | None = None) -> RangeResult:
        """Read keys."""
        return await self._twin(self._engine.range, request, timeout=timeout)

    async def aput(self, request: PutRequest, *, timeout: float | None = None) -> PutResult:
        """Write a key."""
        return await self._twin(self._engine.put, request, timeout=timeout)

    async def adelete_range(self, request: DeleteRequest, *, timeout: float | None = None) -> DeleteResult:
        """Delete keys."""
        return await self._twin(self._engine.delete_range, request, timeout=timeout)

    async def atxn(self, request: TxnRequest, *, timeout: float | None = None) -> TxnResult:
        """Run a transaction."""
        return await self._twin(self._engine.txn, request, timeout=timeout)

    async def acompact(self, revision: int, *, physical: bool = False, timeout: float | None = None) -> None:
        """Forget history."""
        await self._twin(self._engine.compact, revision, timeout=timeout, physical=physical)

    async def alease_grant(self, ttl: int, *, lease_id: int = 0, timeout: float | None = None) -> LeaseStatus:
        """Grant a lease. One whose task was cancelled may be granted all the same, and then runs out."""
        return await self._twin(self._engine.lease_grant, ttl, timeout=timeout, lease_id=lease_id)

    async def alease_revoke(self, lease_id: int, *, timeout: float | None = None) -> None:
        """End a lease."""
        await self._twin(self._engine.lease_revoke, lease_id, timeout=timeout)

    async def alease_keep_alive(self, lease_id: int, *, timeout: float | None = None) -> int:
        """Renew a lease once."""
        return await self._twin(self._engine.lease_keep_alive, lease_id, timeout=timeout)

    async def alease_time_to_live(
        self, lease_id: int, *, keys: bool = False, timeout: float | None = None
    ) -> LeaseStatus:
        """Tell what is left of a lease."""
        return await self._twin(self._engine.lease_time_to_live, lease_id, timeout=timeout, keys=keys)

    async def alease_list(self, *, timeout: float | None = None) -> tuple[int, ...]:
        """Return the ids of all leases."""
        return await self._twin(self._engine.lease_list, timeout=timeout)

    async def awatch(self, request: WatchRequest, sink: WatchSink, *, timeout: float | None = None) -> WatchHandle:
        """Start a watch. ``sink`` is called from a thread of the engine. A cancelled call leaves no watch behind."""
        mutex = threading.Lock()
        given_up = False
        started: list[WatchHandle] = []

        def start(left: float) -> WatchHandle:
            handle = self._engine.watch(request, sink, timeout=left)
            with mutex:
                started.append(handle)
                unwanted = given_up
            if unwanted:
                handle.cancel()
            return handle

        try:
            return await self.in_thread(start, timeout=timeout)
        except BaseException:
            with mutex:
                given_up = True
            for handle in started:
                handle.cancel()
            raise

    @property
    def _engine(self) -> BlockingCalls:
        return cast("BlockingCalls", self)

    async def _twin(self, call: Callable[..., T], *arguments: Any, timeout: float | None, **options: Any) -> T:
        return await self.in_thread(lambda left: call(*arguments, timeout=left, **options), timeout=timeout)

    def _threads(self) -> Pool:
        # One C call on a dict is atomic: no lock here that a fork could leave held.
        pool: Pool = self.__dict__.get("_pool") or self.__dict__.setdefault("_pool", Pool())
        return pool

    def _stop_threads(self) -> None:
        """Closing: refuse what has not begun, wait for what is under way, within some seconds."""
        self._threads().stop(timeout=_STOP_TIMEOUT)

    def _forget_threads(self) -> None:
        """In the child of a fork, where the threads are not."""
        self.__dict__.pop("_pool", None)
