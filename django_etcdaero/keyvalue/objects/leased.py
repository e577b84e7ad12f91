"""An object that is there for as long as its process keeps it: presence, a worker's state, a claim.

The object hangs on a lease of its own, which is renewed in the background. It ends in one of two ways: it is cancelled
here, or lost. Lost means that the lease ended (this process or the store was away for longer than the time to live),
or that somebody deleted the object or put another in its place. The loss is reported, and the object is not stored
again: what it stood for may be another's by now.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from django_etcdaero.exceptions import EtcdAeroError, KeyExists
from django_etcdaero.keyvalue.arguments import check_flag
from django_etcdaero.keyvalue.client.background import logger
from django_etcdaero.keyvalue.client.watch import Resync, Watch
from django_etcdaero.keyvalue.txn import put, version
from django_etcdaero.keyvalue.values import Event, EventType, KeyValue
from django_etcdaero.system.threads import wait

from .place import Place

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.facade import KV

T = TypeVar("T")


class LeaseState(enum.Enum):
    """How an object under a lease stands."""

    ACTIVE = "active"
    CANCELLED = "cancelled"
    """Ended by this process."""
    LOST = "lost"


class LeasedObject:
    """A stored object under a lease; made with ``Collection.leased()``. As a context manager it cancels itself."""

    def __init__(
        self, kv: KV, place: Place[T], name: str, value: T, *, ttl: int, replace: bool, timeout: float | None
    ) -> None:
        check_flag("replace", replace)
        self.name = name
        self._label = place.label(name)
        self._kv = kv
        self._key = place.key(name)
        self._mutex = threading.Lock()
        self._ended = threading.Event()
        self._end = LeaseState.ACTIVE
        self._callbacks: list[Callable[[LeasedObject], object]] = []
        self._watch: Watch | None = None
        data = place.encode(name, value)
        self.lease = kv.lease(ttl, timeout=timeout)
        try:
            txn = kv.txn().then(put(self._key, data, lease=self.lease))
            answer = (txn if replace else txn.when(version(self._key) == 0)).commit(timeout=timeout)
            if not answer.succeeded:
                raise KeyExists(f"{self._label} exists already")
            self.version = answer.revision
            """The version that the object had first."""
            watch = kv.watch(self._key, start_revision=answer.revision + 1, callback=self._seen, timeout=timeout)
        except BaseException:
            self._revoke()
            raise
        with self._mutex:
            self._watch = watch
        self.lease.subscribe(self._lose)

    def __repr__(self) -> str:
        return f"<LeasedObject {self._label!r} {self.state.value}>"

    @property
    def state(self) -> LeaseState:
        """How it stands, as far as this process can know. In the child of a fork it is lost."""
        if self._end is LeaseState.ACTIVE and not self.lease.alive:
            return LeaseState.LOST
        return self._end

    def on_end(self, callback: Callable[[LeasedObject], object]) -> None:
        """Call ``callback(leased)`` once, when it has ended (or if it has), from a thread that such callbacks share.

        ``leased.state`` says how. A callback that raises is logged. In the child of a fork nothing happens.
        """
        if self.lease.inherited:
            return
        with self._mutex:
            if self._end is LeaseState.ACTIVE:
                self._callbacks.append(callback)
                return
        self._report(callback)

    def wait(self, timeout: float) -> LeaseState:
        """Wait until it ends, at most ``timeout`` seconds, and return how it stands then."""
        if self.state is LeaseState.ACTIVE:
            wait(self._ended, timeout)
        return self.state

    def cancel(self) -> None:
        """Delete the object, if it still is this one, by ending the lease. Idempotent.

        If the store cannot be reached, that is logged, and the object vanishes within its time to live.
        """
        if not self.lease.inherited and self._finish(LeaseState.CANCELLED):
            self._revoke()

    def __enter__(self) -> LeasedObject:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cancel()

    # how it ends -----------------------------------------------------------------------------------------------------

    def _revoke(self) -> None:
        try:
            self.lease.revoke()
        except EtcdAeroError as error:
            logger.warning("the lease of %r could not be revoked and will run out: %s", self._label, error)

    def _lose(self) -> None:
        if self._finish(LeaseState.LOST):
            logger.warning("the object %r under lease %x is lost", self._label, self.lease.id)

    def _seen(self, item: object) -> bool:
        """Judge a change of the key; called by its watch."""
        kvs: tuple[KeyValue, ...] = ()
        if isinstance(item, Event):
            kvs = (item.kv,) if item.type is EventType.PUT else ()
        elif isinstance(item, Resync):
            kvs = item.kvs
        if not any(found.lease == self.lease.id for found in kvs):
            self._lose()
            self._kv.chores.submit(self._revoke)
        return self.state is LeaseState.ACTIVE

    def _finish(self, state: LeaseState) -> bool:
        with self._mutex:
            if self._end is not LeaseState.ACTIVE:
                return False
            self._end = state
            callbacks, self._callbacks = self._callbacks, []
            watch = self._watch
        self._ended.set()
        self.lease.unsubscribe(self._lose)
        if watch is not None:
            watch.cancel()
        for callback in callbacks:
            self._report(callback)
        return True

    def _report(self, callback: Callable[[LeasedObject], object]) -> None:
        def call() -> None:
            try:
                callback(self)
            except Exception:
                logger.exception("the on_end callback of %r failed", self._label)

        self._kv.dispatcher.losses.submit(call)
