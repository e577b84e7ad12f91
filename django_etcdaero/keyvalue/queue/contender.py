"""One object that contends for a name: what a lock and a candidate for leadership have in common."""

from __future__ import annotations

import logging
import threading
from typing import Any

from django_etcdaero.exceptions import ClusterError, EtcdAeroError, InvalidRequest, LeaseNotFound, LockTimeout
from django_etcdaero.keyvalue.arguments import end_of
from django_etcdaero.keyvalue.client.background import TRANSIENT, ToldOf, logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.lease import check_ttl
from django_etcdaero.keyvalue.client.session import Session
from django_etcdaero.keyvalue.client.steps import is_over, seconds_left
from django_etcdaero.keyvalue.keys import Text, to_bytes
from django_etcdaero.keyvalue.txn import create_revision
from django_etcdaero.keyvalue.values import Compare
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.durations import check_seconds
from django_etcdaero.system.steps import Call, Pause
from django_etcdaero.system.twins import twins

from .holder import Holder
from .layout import label
from .place import Place
from .reading import LEAVE_TIMEOUT, read_queue

_GUARD_DELAY = 0.02
"""Seconds after which a place taken without waiting is watched: shorter critical sections do without."""

_RETRY = 0.25
"""Seconds until somebody who wants to wait for the name asks a store again that is away."""

_GRACE = 1.0
"""Seconds that leaving the queue may take when the time to wait in it is over."""


class Contender:
    """Takes a :class:`~django_etcdaero.keyvalue.queue.place.Place` under a name, keeps it and gives it back."""

    kind = "contender"
    """What messages call it."""
    apart = False
    """Contenders introduce themselves in second keys."""
    alone = True
    """One contender at a time holds the name."""

    def __init__(self, client: Client, name: Text, *, ttl: int) -> None:
        self.name = to_bytes(name, name=f"{self.kind} name")
        if not self.name:
            raise InvalidRequest(f"{self.kind} name is empty")
        self.label = label(self.name)
        """The name as text, for messages."""
        check_ttl(ttl)
        self.ttl = ttl
        """Seconds after which the place of a dead process is free."""
        self._client = client
        self._mutex = threading.Lock()
        self._busy = False
        self._place: Place | None = None
        self._callbacks: list[ToldOf[Any]] = []

    def __repr__(self) -> str:
        place = self._place
        state = "not held" if place is None else "lost" if self.lost else f"held token={place.token}"
        return f"<{type(self).__name__} {self.label!r} {state}>"

    # while it is held ------------------------------------------------------------------------------------------------

    @property
    def held(self) -> bool:
        """True while the name is held and, as far as this process can know, not lost."""
        return self._place is not None and not self.lost

    @property
    def lost(self) -> bool:
        """True when the name was taken, is not yet given back, and its lease ended or its key was removed."""
        place = self._place
        return place is not None and (place.guard.gone or not place.session.lease.alive)

    @property
    def token(self) -> int:
        """The fencing token: each holder's is greater than those of all before. Also there when the name is lost."""
        return self._holding().token

    def compare(self) -> Compare:
        """Return a condition for transactions of the same client that holds exactly as long as the name is held."""
        place = self._holding()
        return create_revision(place.key) == place.token

    def on_lost(self, callback: ToldOf[Any]) -> None:
        """Call ``callback(self)``, or ``callback()`` if it takes nothing, whenever what this object holds is lost.

        All callbacks of a client that tell of a loss share one thread, which does nothing else: none may block.
        """
        self._callbacks.append(callback)
        if self.lost:
            self._report(callback)

    # looking into the queue ------------------------------------------------------------------------------------------

    async def _holder(self, *, timeout: float | None = None) -> Holder | None:
        """Return what is known of who holds the name now, this process or another; ``None`` if nobody does."""
        in_line = await self._read_line(limit=1, timeout=timeout)
        return in_line[0] if in_line else None

    holder, aholder = twins(_holder)

    async def _queue(self, *, timeout: float | None = None) -> tuple[Holder, ...]:
        """Return what is known of the holder and of everybody who waits, in the order of their turns."""
        return await self._read_line(limit=0, timeout=timeout)

    queue, aqueue = twins(_queue)

    async def _holders(self, *, timeout: float | None = None) -> tuple[Holder, ...]:
        """Return what is known of who holds the name now, in the order in which they came."""
        in_line = await self._read_line(limit=1 if self.alone else 0, timeout=timeout)
        return in_line[: await self._count_holders(in_line, timeout=timeout)]

    async def _read_line(self, *, limit: int, timeout: float | None) -> tuple[Holder, ...]:
        """Return the contenders in order, with ``limit`` at least one if there is one."""
        in_line = await read_queue(self._client, self.name, second=self.apart, limit=limit, timeout=timeout)
        return tuple(Holder.read(*each) for each in in_line)

    async def _count_holders(self, in_line: tuple[Holder, ...], *, timeout: float | None) -> int:
        """Return how many of those ``in_line``, the first ones, hold the name."""
        return min(1, len(in_line))

    # inside ----------------------------------------------------------------------------------------------------------

    async def _take(
        self, timeout: float | None, *, patience: float | None = None, stop: threading.Event | None = None
    ) -> None:
        """Take the name, in turn, within ``timeout`` seconds (0: try once, without getting into the queue).

        Where that sets no end the store has ``patience`` seconds (``None``: the engine's default) for what comes before
        waiting in the queue.
        """
        engine = self._client.open_engine()
        once = timeout is not None and check_seconds("timeout", timeout) <= 0
        limit = None if once else end_of(timeout)
        if limit is None:
            patience = engine.default_timeout if patience is None else check_seconds("timeout", patience)
            entry = monotonic() + patience
        else:
            entry = limit
        mine = False
        try:
            with self._mutex:
                if self._busy:
                    kind = type(self).__name__
                    raise InvalidRequest(
                        f"this {kind} object has {self.label!r} already; each contender uses one of its own"
                    )
                mine = self._busy = True
            try:
                await self._insist(entry, limit, once=once, stop=stop)
            except LeaseNotFound:  # the store forgot the session: it was replaced, or somebody revoked the lease
                await self._insist(entry, limit, once=once, stop=stop)
        except BaseException as error:  # of a signal handler, too, which may raise anywhere
            if mine:
                self._busy = False
                if self._place is not None:
                    self._drop(self._place)
            late = limit is not None and is_over(limit)
            if late and isinstance(error, TRANSIENT) and not isinstance(error, LockTimeout):
                raise LockTimeout(f"{self.label!r} could not be had in time: {error}") from error
            raise

    async def _insist(self, entry: float, limit: float | None, *, once: bool, stop: threading.Event | None) -> None:
        """Contend, again and again where there is time left and the store is known to be away, as far as that goes."""
        while True:
            try:
                await self._contend(entry, limit, once=once, stop=stop)
                return
            except ClusterError as error:
                if error.since is None or limit is None or limit - monotonic() <= _RETRY:
                    raise
                if stop is not None and stop.is_set():
                    raise
            await Pause(_RETRY)

    async def _contend(self, entry: float, limit: float | None, *, once: bool, stop: threading.Event | None) -> None:
        """Enter the queue until ``entry``, and wait in it until ``limit``."""
        session = await Call(self._client.session, self._client.asession, self.ttl, timeout=seconds_left(entry))
        place = self._make_place(session)
        end: float | None = entry
        try:
            if once:
                if not (await place.enter_if_empty(entry)):
                    raise LockTimeout(f"{self.label!r} is not free")
            elif not (await self._line_up(place, entry)):
                end = limit
                await place.wait(limit=limit, stop=stop)
            self._hold(place)
        except BaseException as error:
            try:
                if isinstance(error, LeaseNotFound):
                    session.lease.end(lost=True)
                if isinstance(error, EtcdAeroError):
                    await place.leave(timeout=_farewell(end, error))
            finally:  # what a signal handler raises comes here as well, while leaving too
                self._place = None
                place.drop()
            raise

    def _make_place(self, session: Session) -> Place:
        raise NotImplementedError

    async def _line_up(self, place: Place, limit: float) -> bool:
        """Get into the queue. Return whether that is the first place."""
        return await place.enter(limit)

    def _hold(self, place: Place) -> None:
        self._place = place
        place.guard.start(place.token, place.seen, delay=_GUARD_DELAY)
        place.guard.subscribe(self._lose)

    async def _give_back(self) -> bool:
        """Give the name back. Return False if it had been lost. In the child of a fork it touches no store."""
        place = self._holding()
        lost = self.lost
        try:
            self._place = None
            self._busy = False
            left = await place.leave()
        except BaseException:  # of a signal handler, too, which may raise anywhere: nobody else could give it back
            self._drop(place)
            raise
        return not lost and (left or place.session.lease.inherited)

    def _drop(self, place: Place) -> None:
        """Give the name back without waiting for anything."""
        self._place = None
        self._busy = False
        place.drop()

    def _holding(self) -> Place:
        place = self._place
        if place is None:
            raise InvalidRequest(f"{self.label!r} is not held by this {type(self).__name__} object")
        return place

    def _lose(self) -> None:
        # Whoever closes the client gives up what was held.
        logger.log(logging.DEBUG if self._client.closed else logging.WARNING, "%s %r is lost", self.kind, self.label)
        for callback in tuple(self._callbacks):
            self._report(callback)

    def _report(self, callback: ToldOf[Any]) -> None:
        self._client.callbacks.report_loss(callback, self, f"the on_lost callback of {self.kind} {self.label!r}")


def _farewell(end: float | None, error: EtcdAeroError) -> float:
    """Return the seconds that leaving the queue may take after ``error``; 0: it is done in the background."""
    left = LEAVE_TIMEOUT if end is None else end - monotonic()
    if isinstance(error, LockTimeout) and error.__cause__ is None:  # as far as is known the store is well
        left = max(left, _GRACE)
    return min(LEAVE_TIMEOUT, max(0.0, left))
