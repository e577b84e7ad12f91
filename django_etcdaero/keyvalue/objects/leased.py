"""An object that is there for as long as its process keeps it: presence, a worker's state, a claim.

The object hangs on a lease of its own, which is renewed in the background. It ends in one of two ways: it is cancelled
here, or lost. Lost means that the lease ended (this process or the store was away for longer than the time to live),
or that somebody deleted the object or put another in its place. The loss is reported, and the object is not stored
again: what it stood for may be another's by now.
"""

from __future__ import annotations

import enum
from typing import TypeVar

from django_etcdaero.keyvalue.arguments import check_function
from django_etcdaero.keyvalue.client.background import TRANSIENT, ToldOf, backoff, logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.lease import Lease
from django_etcdaero.keyvalue.client.steps import Alarm, pause
from django_etcdaero.keyvalue.recipes.kept_key import KeptKey
from django_etcdaero.system.acting import acts
from django_etcdaero.system.durations import check_seconds
from django_etcdaero.system.steps import drive
from django_etcdaero.system.twins import TwinBlocks, twins

from .layout import Layout

T = TypeVar("T")


class LeaseState(enum.Enum):
    """How an object under a lease stands."""

    ACTIVE = "active"
    CANCELLED = "cancelled"
    """Ended by this process."""
    LOST = "lost"


class LeasedObject(Alarm, TwinBlocks):
    """A stored object under a lease; made with ``Collection.leased()``. As a context manager it cancels itself."""

    def __init__(self, client: Client, layout: Layout[T], name: str, value: T, *, ttl: int) -> None:
        super().__init__()
        key = layout.key(name)
        self.name = name
        self.version = 0
        """The version that the object had first."""
        self._label = layout.label(name)
        self._client = client
        self._data = layout.encode(name, value)
        self._end = LeaseState.ACTIVE
        self._failures = 0
        what = f"the object {self._label!r}"
        self._kept = KeptKey(client, key, what, ttl=ttl, lost=self._lose_key, wake=self._wake)

    async def create(self, *, replace: bool, timeout: float | None) -> None:
        """Store the object, within ``timeout`` seconds (``None``: the engine's default). Once."""
        self.version = await self._kept.create(self._data, replace=replace, watched=True, timeout=timeout)
        self.lease.subscribe(self._lose)

    def __repr__(self) -> str:
        return f"<LeasedObject {self._label!r} {self.state.value}>"

    @property
    def lease(self) -> Lease:
        """The lease that it is on."""
        return self._kept.lease

    @property
    def state(self) -> LeaseState:
        """How it stands, as far as this process can know. In the child of a fork it is lost."""
        if self._end is LeaseState.ACTIVE and not self.lease.alive:
            return LeaseState.LOST
        return self._end

    def on_end(self, callback: ToldOf[LeasedObject]) -> None:
        """Call ``callback(leased)`` once, when it has ended (or if it has), from a thread that such callbacks share.

        ``leased.state`` says how. A callback that raises is logged. In the child of a fork nothing happens.
        """
        check_function("callback", callback)
        what = f"the on_end callback of {self._label!r}"
        if not self.lease.inherited:
            self.subscribe(lambda: self._client.callbacks.report_loss(callback, self, what))

    async def _wait(self, timeout: float) -> LeaseState:
        """Wait until it ends, at most ``timeout`` seconds, and return how it stands then."""
        seconds = check_seconds("timeout", timeout)
        if self.state is LeaseState.ACTIVE:
            await pause(self, seconds)
        return self.state

    wait, asleep = twins(_wait, awaited="asleep")

    @acts
    async def _cancel(self) -> None:
        """Delete the object, if it still is this one, by ending the lease. Idempotent.

        If the store cannot be reached, that is logged, and the object vanishes within its time to live.
        """
        if self.lease.inherited or not self._finish(LeaseState.CANCELLED):
            return
        try:
            await self._kept.leave()
        except BaseException:
            self._kept.leave_in_background()
            raise

    cancel, acancel = twins(_cancel)

    async def _leave(self, error: type[BaseException] | None) -> None:
        await self._cancel()

    def _abort(self) -> None:
        self._kept.end()
        self._kept.leave_in_background()

    # how it ends -----------------------------------------------------------------------------------------------------

    def _lose(self) -> None:
        self._finish(LeaseState.LOST)

    def _lose_key(self, why: str) -> None:
        """Be told by the watch that another is in the key, or nothing."""
        self._lose()
        self._kept.leave_in_background()

    def _wake(self) -> None:
        if self._end is LeaseState.ACTIVE:
            self._client.chores.submit(self._look)

    def _look(self) -> float | None:
        """Task for the background: see that the object is there, and watch it from there on."""
        if self.state is not LeaseState.ACTIVE:
            return None
        kept, timeout = self._kept, self.lease.ttl / 3
        try:
            kept.look()
            found = self._client.range(kept.key, keys_only=True, timeout=timeout)
            own = any(each.lease == self.lease.id for each in found.kvs)
            if kept.note(found.revision, placed=own) and not own:
                self._lose_key("it is not there any more")
                return None
            drive(kept.watch(timeout=timeout))
        except TRANSIENT as error:
            self._failures += 1
            logger.debug("looking after the object %r: %s", self._label, error)
            return backoff(self._failures)
        self._failures = 0
        return None

    def _finish(self, state: LeaseState) -> bool:
        with self._mutex:
            if self._end is not LeaseState.ACTIVE:
                return False
            self._end = state
        if state is LeaseState.LOST:
            logger.warning("the object %r under lease %x is lost", self._label, self.lease.id)
        self.lease.unsubscribe(self._lose)
        self._kept.end()
        self._ring()
        return True
