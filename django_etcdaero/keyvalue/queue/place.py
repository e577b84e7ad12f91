"""A place in the queue of contenders for a name: what locks and elections have in common.

The layout of the queue is in :mod:`django_etcdaero.keyvalue.queue.layout`. The protocol is that of etcd's own Go
client:

* to enter is one transaction: put the key if it does not exist, and read who is first;
* everybody else watches for the DELETION of the contender right before, nothing else: one departure wakes one waiter,
  first come first served. After each wake-up one range reads the own key (gone: the place is lost) and the contender
  that is now right before;
* to leave is to delete the own key if it still has the own create revision.

Entering may be repeated after an unknown outcome: the second try finds the key of the first. Leaving is carried on in
the background if it fails or its caller is interrupted.

What asks for more than a moment is written as :mod:`steps <django_etcdaero.keyvalue.client.steps>`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Awaitable, Callable, Iterable

from django_etcdaero.exceptions import (
    Cancelled,
    DeadlineExceeded,
    EtcdAeroError,
    LockLost,
    LockTimeout,
    OutcomeUnknown,
    PermissionDenied,
)
from django_etcdaero.keyvalue.client.background import TRANSIENT, backoff, logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.open_watches import Followed, Use
from django_etcdaero.keyvalue.client.session import Session
from django_etcdaero.keyvalue.client.steps import Commit, Read, is_over, pause, seconds_left, wait
from django_etcdaero.keyvalue.ops import Txn, create_revision, delete, found, get, lease_of, put
from django_etcdaero.keyvalue.values import (
    KeyValue,
    PutRequest,
    RangeRequest,
    Response,
    TxnResult,
    WatchBatch,
    WatchLost,
    WatchRequest,
)
from django_etcdaero.system.clocks import monotonic

from .guard import Guard
from .layout import contenders, departure, keys_of, label, oldest, second_key, up_to
from .reading import LEAVE_TIMEOUT, delete_in_background

_TRIES = 3

_LONGEST_PAUSE = 1.0
"""Seconds between two looks at a store that is away; where it is known to be, they cost nothing."""

_STOP_POLL = 0.1
"""Seconds between two looks at the event that ends a wait from outside."""


class Stopped(Cancelled):
    """A wait was ended from outside; never leaves this package."""


class Place:
    """One contender of this process. Used by one caller: enter, wait, and in any case leave."""

    use = Use.LOCK
    """What it waits for."""

    def __init__(
        self, client: Client, session: Session, name: bytes, value: bytes, *, about: bytes | None = None
    ) -> None:
        """``about`` is the introduction that goes into a second key; ``None``: the value is one."""
        self.session = session
        self.name = name
        self.whole = name
        """Under which name all stand who contend."""
        self.line = name
        """Under which name those stand who may have their turn before."""
        self.label = label(name)
        self.value = value
        self.about = about
        self.token = 0
        """The key's create revision; 0 as long as it is not known."""
        self.announced = 0
        """The revision at which ``value`` was put."""
        self.seen = 0
        """The store's revision when the key was last known to be in place."""
        self._client = client
        self._in_doubt = False  # the put may have been applied, or be applied yet
        self._left = False  # there is no key, or its deletion is under way in the background
        self._freed = False
        # Sessions are shared by all views of a store, so a number is taken under the full name.
        self._slot = session.reserve(client.prefix + name)
        suffix = f"-{self._slot}" if self._slot else ""
        self.key = keys_of(name) + f"{session.lease.id:x}{suffix}".encode()
        self.guard = Guard(client, self.key, session.lease)
        self.first: KeyValue | None = None
        """Who was the first in the queue when this place was not had, with its value: not in elections, of anybody's
        size."""
        self._cancelled = False

    # entering --------------------------------------------------------------------------------------------------------

    async def enter(self, limit: float) -> bool:
        """Take a place in the queue, until ``limit``. Return whether it is the first one."""
        entry = (
            self._client.txn()
            .when(create_revision(self.key) == 0)
            .then(*self.puts(), oldest(self.line))
            .otherwise(get(self.key, keys_only=True), oldest(self.line))
        )
        result = await self.repeat(lambda: self._commit(entry, limit), limit)
        mine = found(result.responses[0])
        self._entered(mine[0].create_revision if mine else result.revision, result.revision)
        first = found(result.responses[-1])
        return not first or first[0].key == self.key

    async def enter_if_empty(self, limit: float) -> bool:
        """Take the first place if nobody is in the queue, until ``limit``. Return whether it was taken; if not, leave.

        One transaction, except when keys that are no contenders are in the way of its comparison.
        """
        nobody = create_revision(keys_of(self.line), prefix=True) == 0
        entry = self._client.txn().when(nobody).then(*self.puts()).otherwise(oldest(self.line), self._look())
        result = await self._commit(entry, limit)
        if result.succeeded:
            self._entered(result.revision, result.revision)
            return True
        self._in_doubt = False
        if self.contenders(found(result.responses[0])):
            self._see_first(result.responses[1])
            return False
        return await self.enter(limit) or not await self._in_the_way(seconds_left(limit))

    async def inherit(self, key: bytes, token: int, lease: int, *, timeout: float) -> bool:
        """Take over the place of a contender that is dead, with its position. Return whether that was done.

        Its keys are moved to the own lease, on the condition that they still are on its ``lease``. However it ends,
        leaving the place deletes the key: for a dead contender that is no loss.
        """
        number, own = self._slot, (self.key, self.guard)
        self.key, self.token, self.guard = key, token, Guard(self._client, key, self.session.lease)
        move = self._client.txn().when(create_revision(key) == token, lease_of(key) == lease).then(*self.puts())
        result = await Commit(move, timeout)
        if result.succeeded:
            self.session.free(self._client.prefix + self.name, number)
            self._slot = -1
            self._entered(token, result.revision)
            self.announced = result.revision
        else:
            (self.key, self.guard), self.token = own, 0
        return result.succeeded

    def puts(self) -> list[PutRequest]:
        """Return the writes that keep the place, with its present value."""
        lease = self.session.lease
        own = [put(self.key, self.value, lease=lease)]
        return own if self.about is None else [*own, put(second_key(self.name, self.key), self.about, lease=lease)]

    async def _commit(self, entry: Txn, limit: float) -> TxnResult:
        doubted, self._in_doubt = self._in_doubt, True
        try:
            return await Commit(entry, seconds_left(limit))
        except (OutcomeUnknown, DeadlineExceeded, Cancelled):
            raise
        except EtcdAeroError:
            self._in_doubt = doubted
            raise

    def _entered(self, token: int, revision: int) -> None:
        self.token = self.announced = token
        self.seen = revision
        self._in_doubt = False

    async def repeat(self, commit: Callable[[], Awaitable[TxnResult]], limit: float = math.inf) -> TxnResult:
        """Commit what does no harm when it is done twice: again after an unknown outcome, until ``limit``."""
        attempt = 1
        while True:
            try:
                return await commit()
            except OutcomeUnknown:
                if attempt == _TRIES or is_over(limit):
                    raise
                await pause(self.session.lease, min(backoff(attempt), seconds_left(limit)))
                attempt += 1

    # waiting ---------------------------------------------------------------------------------------------------------

    async def wait(self, *, limit: float | None, stop: threading.Event | None = None) -> None:
        """Wait until the place is the first in the queue.

        ``limit`` is the end of patience by ``time.monotonic()``, ``None`` for no end of its own: every wait ends with
        the session. While the store is away the wait goes on, as long as the lease has time left. Raises
        ``LockTimeout``, ``LockLost`` (lease or key gone), ``Cancelled`` (client closed), ``PermissionDenied``;
        ``Stopped`` soon after ``stop`` was set.
        """

        def left() -> float:
            if self._cancelled:
                raise Cancelled(f"the wait for {self.label!r} was cancelled")
            if stop is not None and stop.is_set():
                raise Stopped(f"the wait for {self.label!r} was ended")
            return self._time_left(limit, trouble)

        trouble: EtcdAeroError | None = None
        poll = math.inf if stop is None else _STOP_POLL
        failures = 0
        since = time.time()
        while True:
            try:
                ahead = await self._in_the_way(left())
                trouble = None
                if not ahead:
                    return
                self.guard.start(self.token, self.seen)
                watches = [(self._client, each, Followed(self.use, self.whole, since=since)) for each in ahead]
                ended = await wait(self.guard, left, *watches, poll=poll, enough=self._may_have_changed)
                if ended is WatchLost.CLOSED:
                    raise Cancelled(f"the store was closed while waiting for {self.label!r}")
                if ended is WatchLost.REFUSED:
                    raise PermissionDenied(f"the store refused to watch {ahead[0].key!r}")
                failures = 0
            except LockTimeout:
                raise
            except TRANSIENT as error:
                failures += 1
                trouble = error
                logger.debug("waiting for %r: %s", self.name, error)
                await pause(self.session.lease, min(backoff(failures, limit=_LONGEST_PAUSE), left()))

    def cancel(self) -> None:
        """Have the wait raise ``Cancelled``, soon. Not for a place that is held."""
        self._cancelled = True
        self.guard.wake()

    def _time_left(self, limit: float | None, trouble: EtcdAeroError | None) -> float:
        lease = self.session.lease
        if self.guard.gone or not lease.alive:
            raise self._lost()
        if limit is None:
            return lease.remaining
        left = limit - monotonic()
        if left <= 0:
            why = "" if trouble is None else f": {trouble}"
            raise LockTimeout(f"{self.label!r} was not free in time{why}") from trouble
        return min(left, lease.remaining)

    async def _in_the_way(self, timeout: float) -> tuple[WatchRequest, ...]:
        """Return what is to be watched until it is worth to look again; nothing: the place has its turn."""
        # A plain range, no transaction: etcd before 3.5.5 does not survive the cancellation of one that only reads, and
        # every wait can end while this is under way.
        for limit in (2, 0):  # the own key and the one before it; more if that one is no contender
            result = await Read(self._client, up_to(self.line, self.token, limit=limit), timeout)
            mine = [kv for kv in result.kvs if kv.key == self.key]
            before = [kv for kv in result.kvs if kv.create_revision < self.token]
            ahead = self.contenders(before)
            if mine and (ahead or not before):
                break
        self._see(mine, result.revision)
        return tuple(departure(kv.key, result.revision) for kv in ahead[:1])

    def contenders(self, kvs: Iterable[KeyValue]) -> list[KeyValue]:
        """Return those of ``kvs``, which are under the name, that contend for it."""
        return contenders(self.whole, kvs)

    def _may_have_changed(self, batch: WatchBatch) -> bool:
        """Tell whether it is worth to look again after these events; asked in the threads that bring them."""
        return True

    def _see(self, mine: Iterable[KeyValue], revision: int) -> None:
        """Make sure that the own key was there at ``revision``. Raises ``LockLost``."""
        if [(kv.create_revision, kv.lease) for kv in mine] != [(self.token, self.session.lease.id)]:
            raise self._lost()
        self.seen = revision

    def _lost(self) -> LockLost:
        self._client.open_engine()  # closing the client is what takes all its places, and is to be named as the reason
        return LockLost(f"the place in the queue for {self.label!r} is lost: its lease ended or its key was removed")

    # leaving ---------------------------------------------------------------------------------------------------------

    async def leave(self, *, timeout: float = LEAVE_TIMEOUT, look: bool = False) -> bool:
        """Delete the own key, in the background if that fails or there is no time for it.

        Return False if there was none (any more). ``look``: in the same call, see who is the first in the queue.
        """
        if not self._has_to_leave():
            return False
        if timeout <= 0:
            self._leave_in_background()
            return self.session.lease.alive
        try:
            with self._client.closed_loops.looked_after(self.drop):
                result = await Commit(self._deletion(*[self._look()] * look), timeout)
        except EtcdAeroError:
            self._leave_in_background()
            return self.session.lease.alive
        except BaseException:
            self._leave_in_background()
            raise
        if look and result.succeeded:
            self._see_first(result.responses[0])
        if self.token or result.succeeded:
            self._free()
        else:  # the put whose answer never came may still arrive after this deletion
            self._leave_in_background()
        return result.succeeded

    def drop(self) -> None:
        """Leave without waiting for anything: the key is deleted in the background."""
        if self._has_to_leave():
            self._leave_in_background()

    def _has_to_leave(self) -> bool:
        if self._left or self.session.lease.inherited:
            return False
        self.guard.stop()
        if self.token or self._in_doubt:
            return True
        self._free()
        return False

    def _free(self) -> None:
        """Note that no key is left. Once only: another contender of the session may have the number by then."""
        self._left = True
        if not self._freed:
            self._freed = True
            self.session.free(self._client.prefix + self.name, self._slot)

    def _look(self) -> RangeRequest:
        return oldest(self.whole, keys_only=self.about is not None)

    def _see_first(self, response: Response) -> None:
        first = self.contenders(found(response))
        self.first = first[0] if first and self.about is None and first[0].key != self.key else None

    def _deletion(self, *looks: RangeRequest) -> Txn:
        mine = create_revision(self.key) == self.token if self.token else create_revision(self.key) > 0
        second = [] if self.about is None else [delete(second_key(self.name, self.key))]
        return self._client.txn().when(mine).then(*looks, delete(self.key), *second)

    def _leave_in_background(self) -> None:
        delete_in_background(self._client, self.session, self._deletion(), in_doubt=not self.token, then=self._free)
        self._left = True
