"""A distributed lock: fair, fenced, and honest about its loss.

It is a place in the line of contenders under its name (:mod:`django_etcdaero.kv.contest` has the protocol); who is
first in line holds it. ``etcdctl lock NAME`` stands in the same line.

No lock over a network can promise that two holders never run at the same time: a process may sleep past its lease. What
it can do is make the late one's writes fail. So a holder puts :meth:`Lock.compare` into the transactions that need the
lock, or hands :attr:`Lock.token` to systems that refuse tokens smaller than the greatest they have seen.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django_etcdaero.exceptions import (
    DeadlineExceeded,
    InvalidRequest,
    LeaseNotFound,
    LockLost,
    LockTimeout,
    OutcomeUnknown,
    StoreBusy,
)

from .background import logger
from .contest import Place, contenders, line
from .engine import Compare, KeyValue, SortOrder, SortTarget
from .guard import Guard
from .keys import Text, to_bytes
from .lease import check_ttl
from .txn import create_revision

if TYPE_CHECKING:
    from .client import KV


_SLACK = 0.01
"""Seconds by which a store's own timer may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock or waits for it. What a foreign client did not tell is empty."""

    key: bytes
    token: int
    """The contender's create revision."""
    lease: int
    host: str = ""
    pid: int | None = None
    since: datetime | None = None
    """When it got in line (UTC, by its own clock)."""
    identity: Mapping[str, Any] = field(default_factory=dict)
    """What else the contender told about itself."""

    @classmethod
    def read(cls, kv: KeyValue) -> Holder:
        """Read a contender's key; never fails, whatever its value is."""
        try:
            told = json.loads(kv.value)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            return cls(kv.key, kv.create_revision, kv.lease)
        host, pid, since = (told.pop(name, None) for name in ("host", "pid", "since"))
        return cls(
            kv.key,
            kv.create_revision,
            kv.lease,
            host=host if isinstance(host, str) else "",
            pid=pid if isinstance(pid, int) else None,
            since=_time(since),
            identity=told,
        )

    def __str__(self) -> str:
        who = f"{self.host or 'unknown'}/{self.pid or '?'}"
        return f"{who} since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else who


class Lock:
    """A lock under a name; made with :meth:`KV.lock() <django_etcdaero.kv.client.KV.lock>`.

    One object is one contender: threads that compete use one object each. As a context manager it acquires and
    releases; a body that finished although the lock was lost meanwhile gets ``LockLost`` at the end, unless it raised
    an error of its own.
    """

    def __init__(self, kv: KV, name: Text, *, ttl: int, timeout: float | None) -> None:
        self.name = to_bytes(name, name="lock name")
        if not self.name:
            raise InvalidRequest("lock name is empty")
        self.label = self.name.decode(errors="backslashreplace")
        """The name as text, for messages."""
        check_ttl(ttl)
        self.ttl = ttl
        """Seconds after which the lock of a dead holder is free."""
        self._kv = kv
        self._timeout = timeout
        self._mutex = threading.Lock()
        self._busy = False
        self._place: Place | None = None
        self._guard: Guard | None = None
        self._callbacks: list[Callable[[Lock], object]] = []

    def __repr__(self) -> str:
        state = "lost" if self.lost else f"held token={self.token}" if self.held else "not held"
        return f"<Lock {self.label!r} {state}>"

    # taking and giving back ------------------------------------------------------------------------------------------

    def acquire(self, timeout: float | None = None) -> None:
        """Take the lock, in turn, waiting at most ``timeout`` seconds.

        ``None``: the timeout given to :meth:`KV.lock`; if that is ``None`` too, as long as it takes. 0: try once,
        without getting in line. Raises ``LockTimeout``; ``LockLost`` if the place in line was lost (the store was away
        for longer than the ttl, or somebody deleted the key); ``InvalidRequest`` if this object has the lock already;
        and what a transaction raises. However it ends without the lock, nothing stays in the store.
        """
        self._kv.open_engine()
        if timeout is None:
            timeout = self._timeout
        limit = None if timeout is None else time.monotonic() + timeout
        with self._mutex:
            if self._busy:
                raise InvalidRequest(f"this Lock object has {self.label!r} already; threads use a Lock object each")
            self._busy = True
        try:
            try:
                self._contend(limit, once=timeout is not None and timeout <= 0)
            except LeaseNotFound:  # the store forgot the session: it was replaced, or somebody revoked the lease
                self._contend(limit, once=timeout is not None and timeout <= 0)
        except LockTimeout:
            self._busy = False
            raise
        except (DeadlineExceeded, OutcomeUnknown, StoreBusy) as error:
            self._busy = False
            if limit is not None and timeout and time.monotonic() >= limit - _SLACK:
                raise LockTimeout(f"{self.label!r} was not acquired in time: {error}") from error
            raise
        except BaseException:
            self._busy = False
            raise

    def try_acquire(self) -> bool:
        """Take the lock if nobody holds it or waits for it. Return whether it was taken."""
        try:
            self.acquire(0)
        except LockTimeout:
            return False
        return True

    def release(self) -> None:
        """Give the lock back and let the next in line have it.

        If the store cannot be reached the key is deleted in the background; that is no error. Raises ``LockLost`` if
        the lock had been lost before, ``InvalidRequest`` if it is not held. In the child of a fork it touches no store.
        """
        place, guard = self._holding()
        inherited = place.session.lease.inherited
        if not inherited:
            guard.stop()
        lost = self.lost
        self._place = self._guard = None
        self._busy = False
        if (not inherited and not place.leave()) or lost:
            raise LockLost(f"{self.label!r} had been lost before it was released")

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        if self._place is None:
            return
        try:
            self.release()
        except LockLost as error:
            if exc_type is None:
                raise
            logger.warning("%s", error)

    # while it is held ------------------------------------------------------------------------------------------------

    @property
    def held(self) -> bool:
        """True while the lock is held and, as far as this process can know, not lost."""
        return self._place is not None and not self.lost

    @property
    def lost(self) -> bool:
        """True when the lock was acquired, is not yet released, and its lease ended or its key was removed."""
        place, guard = self._place, self._guard
        return place is not None and guard is not None and (guard.gone or not place.session.lease.alive)

    @property
    def token(self) -> int:
        """The fencing token: each holder's is greater than those of all before. Also there when the lock is lost.

        Raises ``InvalidRequest`` if the lock was not acquired.
        """
        return self._holding()[0].token

    def check(self) -> None:
        """Raise ``LockLost`` if the lock is not held any more. Asks no store: :meth:`compare` is the real guard."""
        if not self.held:
            raise LockLost(f"{self.label!r} is not held")

    def compare(self) -> Compare:
        """Return a condition for transactions of the same client that holds exactly as long as the lock is held."""
        place, _ = self._holding()
        return create_revision(place.key) == place.token

    def on_lost(self, callback: Callable[[Lock], object]) -> None:
        """Call ``callback(lock)``, from the client's dispatcher thread, whenever a lock held by this object is lost."""
        self._callbacks.append(callback)
        if self.lost:
            self._report(callback)

    # looking inside --------------------------------------------------------------------------------------------------

    def holder(self, *, timeout: float | None = None) -> Holder | None:
        """Return who holds the lock now, this process or another; ``None`` if nobody does."""
        return next(iter(self._line(1, timeout) or self._line(0, timeout)), None)

    def queue(self, *, timeout: float | None = None) -> tuple[Holder, ...]:
        """Return the holder and everybody who waits, in order."""
        return self._line(0, timeout)

    def _line(self, limit: int, timeout: float | None) -> tuple[Holder, ...]:
        found = self._kv.range(
            line(self.name),
            prefix=True,
            limit=limit,
            sort_target=SortTarget.CREATE,
            sort_order=SortOrder.ASCEND,
            timeout=timeout,
        )
        return tuple(map(Holder.read, contenders(self.name, found.kvs)))

    # inside ----------------------------------------------------------------------------------------------------------

    def _contend(self, limit: float | None, *, once: bool) -> None:
        left = None if limit is None or once else max(0.001, limit - time.monotonic())
        session = self._kv.session(self.ttl, timeout=left)
        place = Place(self._kv, session, self.name, self._value())
        try:
            if once:
                if not place.enter_if_empty(timeout=None):
                    raise LockTimeout(f"{self.label!r} is not free")
            elif not place.enter(timeout=left):
                place.wait(limit=limit)
            guard = Guard(self._kv, place, self._lose)
            self._guard, self._place = guard, place
            guard.start()
        except LeaseNotFound:
            session.lease.end(lost=True)
            place.leave()
            raise
        except BaseException:
            self._guard = self._place = None
            place.leave()
            raise

    def _value(self) -> bytes:
        since = datetime.now(UTC).isoformat(timespec="milliseconds")
        told = {"host": socket.gethostname(), "pid": os.getpid(), "since": since, **self._kv.identity}
        return json.dumps(told).encode()

    def _holding(self) -> tuple[Place, Guard]:
        place, guard = self._place, self._guard
        if place is None or guard is None:
            raise InvalidRequest(f"{self.label!r} is not held by this Lock object")
        return place, guard

    def _lose(self) -> None:
        logger.warning("lock %r is lost", self.label)
        for callback in tuple(self._callbacks):
            self._report(callback)

    def _report(self, callback: Callable[[Lock], object]) -> None:
        def call() -> None:
            try:
                callback(self)
            except Exception:
                logger.exception("the on_lost callback of lock %r failed", self.label)

        self._kv.dispatcher.submit(call)


def _time(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
