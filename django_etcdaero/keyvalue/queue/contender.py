"""One object that contends for a name: what a lock and a candidate for leadership have in common."""

from __future__ import annotations

import logging
import threading
from typing import Any

from django_etcdaero.exceptions import (
    Cancelled,
    ClusterError,
    EtcdAeroError,
    InvalidRequest,
    LeaseNotFound,
    LockLost,
    LockTimeout,
)
from django_etcdaero.keyvalue.arguments import check_function, end_of
from django_etcdaero.keyvalue.client.background import TRANSIENT, logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.lease import check_ttl
from django_etcdaero.keyvalue.client.loss import LossReason, ToldOfLoss
from django_etcdaero.keyvalue.client.session import Session
from django_etcdaero.keyvalue.client.steps import is_over, seconds_left
from django_etcdaero.keyvalue.keys import Text
from django_etcdaero.keyvalue.ops import create_revision
from django_etcdaero.keyvalue.values import Compare
from django_etcdaero.system.acting import acts
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.durations import check_seconds
from django_etcdaero.system.steps import Call, Pause

from .contest import Contest
from .holder import Holder
from .place import Place
from .reading import LEAVE_TIMEOUT

_GUARD_DELAY = 0.02
"""Seconds after which a place taken without waiting is watched: shorter critical sections do without."""

_RETRY = 0.25
"""Seconds until somebody who wants to wait for the name asks a store again that is away."""

_GRACE = 1.0
"""Seconds that leaving the queue may take when the time to wait in it is over."""


class Contender(Contest):
    """Takes a :class:`~django_etcdaero.keyvalue.queue.place.Place` under a name, keeps it and gives it back."""

    lost_error: type[EtcdAeroError] = LockLost
    """What is raised where the name is not held any more."""

    def __init__(self, client: Client, name: Text, *, ttl: int) -> None:
        super().__init__(client, name)
        check_ttl(ttl)
        self.ttl = ttl
        """Seconds after which the place of a dead process is free."""
        self._mutex = threading.Lock()
        self._busy = False
        self._cancelled = False
        self._waiting: Place | None = None
        self._place: Place | None = None
        self._last_reason: LossReason | None = None
        self._callbacks: list[ToldOfLoss[Any]] = []

    def __repr__(self) -> str:
        place = self._place
        state = "not held" if place is None else "lost" if self.lost else f"held token={place.token}"
        state += self._why()
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
        return place is not None and place.guard.reason is not None

    @property
    def lost_reason(self) -> LossReason | None:
        """Why the name is lost, or was when it was given back; ``None``: it was not lost since it was taken last."""
        place = self._place
        return self._last_reason if place is None else place.guard.reason

    @property
    def token(self) -> int:
        """The fencing token: each holder's is greater than those of all before. Also there when the name is lost."""
        return self._holding().token

    def check(self) -> None:
        """Raise an error if the name is not held any more: ``LockLost``, in an election ``NotLeader``.

        Asks no store: :meth:`compare` is the real guard.
        """
        if not self.held:
            raise self.lost_error(f"{self.label!r} is not held{self._why()}")

    def compare(self) -> Compare:
        """Return a condition for transactions of the same client that holds exactly as long as the name is held."""
        place = self._holding()
        return create_revision(place.key) == place.token

    def on_lost(self, callback: ToldOfLoss[Any]) -> None:
        """Call ``callback(self, reason)`` whenever what this object holds is lost; now if it is.

        ``reason`` is a :class:`~django_etcdaero.keyvalue.client.loss.LossReason`. A function that requires fewer
        arguments gets fewer: ``callback(self)``, or ``callback()`` as ``event.set``. All callbacks of a client that
        tell of a loss share one thread, which does nothing else: none may block.
        """
        check_function("callback", callback)
        self._callbacks.append(callback)
        if self.lost:
            self._report(callback)

    # waiting for it --------------------------------------------------------------------------------------------------

    @acts
    def cancel(self) -> bool:
        """End the wait of another thread or task for the name, with this object: there ``Cancelled`` is raised.

        Return whether there was a wait to end; what is held already stays held. A call to the store that is under way
        is waited for, and nothing of the wait stays in the store.
        """
        with self._mutex:
            if not self._busy or self._place is not None:
                return False
            self._cancelled = True
            waiting = self._waiting
        if waiting is not None:
            waiting.cancel()
        return True

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
                self._cancelled = False
                self._last_reason = None
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
            self._check_cancelled()

    async def _contend(self, entry: float, limit: float | None, *, once: bool, stop: threading.Event | None) -> None:
        """Enter the queue until ``entry``, and wait in it until ``limit``."""
        session = await Call(self._client.session, self._client.asession, self.ttl, timeout=seconds_left(entry))
        place = self._make_place(session)
        end: float | None = entry
        try:
            with self._mutex:
                self._waiting = place
                self._check_cancelled()
            with self._client.closed_loops.looked_after(place.drop):
                if once:
                    if not (await place.enter_if_empty(entry)):
                        raise LockTimeout(f"{self.label!r} is not free")
                elif not (await self._line_up(place, entry)):
                    end = limit
                    await place.wait(limit=limit, stop=stop)
            with self._mutex:
                self._check_cancelled()
                self._waiting, self._place = None, place
            self._hold(place)
        except BaseException as error:
            try:
                if isinstance(error, LeaseNotFound):
                    session.lease.end(lost=True)
                elif isinstance(error, LockLost):
                    self._last_reason = place.guard.reason or LossReason.REMOVED
                if isinstance(error, EtcdAeroError):
                    await place.leave(timeout=_farewell(end, error), look=isinstance(error, LockTimeout))
                    if isinstance(error, LockTimeout) and place.first is not None:
                        error.holder = holder = Holder.read(place.first, place.first.value)
                        error.args = (f"{error}; {holder} has it",)
            finally:  # what a signal handler raises comes here as well, while leaving too
                self._waiting = self._place = None
                place.drop()
            raise

    def _check_cancelled(self) -> None:
        if self._cancelled:
            raise Cancelled(f"the wait for {self.label!r} was cancelled")

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
        self._last_reason = reason = self.lost_reason
        try:
            self._place = None
            self._busy = False
            left = await place.leave()
        except BaseException:  # of a signal handler, too, which may raise anywhere: nobody else could give it back
            self._drop(place)
            raise
        if reason is None and not left and not place.session.lease.inherited:
            self._last_reason = reason = place.guard.reason or LossReason.REMOVED
        return reason is None

    def _drop(self, place: Place) -> None:
        """Give the name back without waiting for anything."""
        self._last_reason = place.guard.reason
        self._place = None
        self._busy = False
        place.drop()

    def _why(self) -> str:
        """Return why the name is lost, for the end of a message."""
        reason = self.lost_reason
        return "" if reason is None else f" ({reason.value})"

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

    def _report(self, callback: ToldOfLoss[Any]) -> None:
        what = f"the on_lost callback of {self.kind} {self.label!r}"
        self._client.callbacks.report_loss(callback, self, what, reason=self.lost_reason or LossReason.REMOVED)


def _farewell(end: float | None, error: EtcdAeroError) -> float:
    """Return the seconds that leaving the queue may take after ``error``; 0: it is done in the background."""
    left = LEAVE_TIMEOUT if end is None else end - monotonic()
    if isinstance(error, LockTimeout) and error.__cause__ is None:  # as far as is known the store is well
        left = max(left, _GRACE)
    return min(LEAVE_TIMEOUT, max(0.0, left))
