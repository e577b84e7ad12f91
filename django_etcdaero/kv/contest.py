"""A place in the line of contenders for a name: what locks and elections have in common.

The layout is that of etcd's own Go client (``client/v3/concurrency``), so that its tools take part in the same line:

* a contender is the key ``<name>/<lease id in lower-case hex>``, put on that lease; further contenders of one session
  append ``-1``, ``-2``, …;
* the contender with the lowest create revision is first in line, and its create revision is its fencing token: tokens
  of successive firsts only grow;
* to enter is one transaction: put the key if it does not exist, and read who is first;
* everybody else watches for the DELETION of the contender right before him, nothing else: one departure wakes one
  waiter, first come first served. After each wake-up one transaction reads the own key (gone: the place is lost) and
  the contender that is now right before;
* to leave is to delete the own key if it still has the own create revision.

Keys deeper than one level below the name (``<name>/x/…``) belong to other names and are not contenders.

Entering may be repeated after an unknown outcome: the second try finds the key of the first. Leaving is carried on in
the background if it fails; when it could not be done for one time to live, the session is abandoned, so that its lease
takes the key along.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from django_etcdaero.exceptions import (
    Cancelled,
    DeadlineExceeded,
    EtcdAeroError,
    LockLost,
    LockTimeout,
    OutcomeUnknown,
    PermissionDenied,
)

from .background import TRANSIENT, backoff, logger
from .engine import (
    KeyValue,
    RangeRequest,
    RangeResult,
    SortOrder,
    SortTarget,
    TxnResult,
    WatchBatch,
    WatchLost,
    WatchRequest,
)
from .txn import Txn, create_revision, delete, get, put

if TYPE_CHECKING:
    from .client import KV
    from .session import Session

_LEAVE_TIMEOUT = 2.0
"""Seconds that a caller waits for his key's deletion before the background carries on with it."""

_ENTRY_TRIES = 3


def line(name: bytes) -> bytes:
    """Return what the keys of all contenders for ``name`` start with."""
    return name + b"/"


def contenders(name: bytes, kvs: Iterable[KeyValue]) -> list[KeyValue]:
    """Return those of ``kvs`` (keys under ``line(name)``) that contend for ``name`` itself, in the given order."""
    start = len(line(name))
    return [kv for kv in kvs if b"/" not in kv.key[start:]]


def first_in_line(name: bytes, *, limit: int = 1, keys_only: bool = True) -> RangeRequest:
    """Return the request for the oldest key (``limit`` 0: all keys, oldest first) under ``line(name)``."""
    return get(
        line(name),
        prefix=True,
        limit=limit,
        keys_only=keys_only,
        sort_target=SortTarget.CREATE,
        sort_order=SortOrder.ASCEND,
    )


class Place:
    """One contender of this process. Used by one thread: enter, wait, and in any case leave."""

    def __init__(self, kv: KV, session: Session, name: bytes, value: bytes) -> None:
        self.session = session
        self.name = name
        self.label = name.decode(errors="backslashreplace")
        self.token = 0
        """The key's create revision; 0 as long as it is not known."""
        self._kv = kv
        self._value = value
        self._in_doubt = False  # the put may have been applied, or be applied yet
        self._slot = session.reserve(name)
        suffix = f"-{self._slot}" if self._slot else ""
        self.key = line(name) + f"{session.lease.id:x}{suffix}".encode()

    # entering --------------------------------------------------------------------------------------------------------

    def enter(self, *, timeout: float | None) -> bool:
        """Take a place in line. Return whether it is the first one."""
        entry = (
            self._kv.txn()
            .when(create_revision(self.key) == 0)
            .then(put(self.key, self._value, lease=self.session.lease), first_in_line(self.name))
            .otherwise(get(self.key, keys_only=True), first_in_line(self.name))
        )
        for attempt in range(1, _ENTRY_TRIES):
            try:
                result = self._commit(entry, timeout)
                break
            except OutcomeUnknown:
                time.sleep(backoff(attempt))
        else:
            result = self._commit(entry, timeout)
        mine, first = result.responses
        self._entered(mine.kvs[0].create_revision if isinstance(mine, RangeResult) else result.revision)
        return _kvs(first)[0].key == self.key

    def enter_if_empty(self, *, timeout: float | None) -> bool:
        """Take the first place if nobody is in line, otherwise leave no trace. Return whether it was taken.

        One transaction, except when the keys of deeper names are in the way of its comparison.
        """
        nobody = create_revision(line(self.name), prefix=True) == 0
        taken = put(self.key, self._value, lease=self.session.lease)
        result = self._commit(self._kv.txn().when(nobody).then(taken).otherwise(first_in_line(self.name)), timeout)
        if result.succeeded:
            self._entered(result.revision)
            return True
        self._in_doubt = False
        if not contenders(self.name, _kvs(result.responses[0])) and (
            self.enter(timeout=timeout) or self._ahead(timeout=timeout)[0] is None
        ):
            return True
        self.leave()
        return False

    def _commit(self, entry: Txn, timeout: float | None) -> TxnResult:
        doubted, self._in_doubt = self._in_doubt, True
        try:
            return entry.commit(timeout=timeout)
        except (OutcomeUnknown, DeadlineExceeded, Cancelled):
            raise
        except EtcdAeroError:
            self._in_doubt = doubted
            raise

    def _entered(self, token: int) -> None:
        self.token = token
        self._in_doubt = False

    # waiting ---------------------------------------------------------------------------------------------------------

    def wait(self, *, limit: float | None) -> None:
        """Wait until the place is the first in line.

        ``limit`` is the end of patience by ``time.monotonic()``, ``None`` for no end of its own: every wait ends with
        the session. While the store is away the wait goes on, as long as the lease has time left. Raises
        ``LockTimeout``, ``LockLost`` (lease or key gone), ``Cancelled`` (client closed), ``PermissionDenied``.
        """
        failures = 0
        while True:
            left = self._time_left(limit)
            try:
                ahead, revision = self._ahead(timeout=left)
                if ahead is None:
                    return
                self._await_deletion(ahead, revision, limit)
                failures = 0
            except LockTimeout:
                raise
            except TRANSIENT as error:
                failures += 1
                logger.debug("waiting for %r: %s", self.name, error)
                self._pause(min(backoff(failures), self._time_left(limit)))

    def _time_left(self, limit: float | None) -> float:
        lease = self.session.lease
        if not lease.alive:
            raise self._lost()
        if limit is None:
            return lease.remaining
        left = limit - time.monotonic()
        if left <= 0:
            raise LockTimeout(f"{self.label!r} was not free in time")
        return min(left, lease.remaining)

    def _ahead(self, *, timeout: float | None) -> tuple[bytes | None, int]:
        """Return the key of the contender right before (``None``: there is none) and the revision read at."""
        for limit in (1, 0):  # the nearest key may be a deeper name's: then all of them have to be looked through
            result = self._read_ahead(limit, timeout)
            mine, before = result.responses
            if [kv.create_revision for kv in _kvs(mine)] != [self.token]:
                raise self._lost()
            ahead = contenders(self.name, _kvs(before))
            if ahead or not _kvs(before):
                break
        return (ahead[0].key if ahead else None), result.revision

    def _read_ahead(self, limit: int, timeout: float | None) -> TxnResult:
        before = get(
            line(self.name),
            prefix=True,
            limit=limit,
            keys_only=True,
            sort_target=SortTarget.CREATE,
            sort_order=SortOrder.DESCEND,
            max_create_revision=self.token - 1,
        )
        return self._kv.txn().then(get(self.key, keys_only=True), before).commit(timeout=timeout)

    def _await_deletion(self, key: bytes, revision: int, limit: float | None) -> None:
        woken = threading.Event()
        ended: list[WatchLost] = []

        def sink(batch: WatchBatch) -> None:
            if batch.lost is not None:
                ended.append(batch.lost)
            if batch.events or batch.lost is not None:
                woken.set()

        lease = self.session.lease
        request = WatchRequest(key, start_revision=revision + 1, no_put=True)
        watch = self._kv.watch_raw(request, sink, timeout=self._time_left(limit))
        lease.subscribe(woken.set)
        try:
            while not woken.wait(self._time_left(limit)):
                continue
        finally:
            lease.unsubscribe(woken.set)
            watch.cancel()
        if WatchLost.CLOSED in ended:
            raise Cancelled(f"the store was closed while waiting for {self.label!r}")
        if WatchLost.REFUSED in ended:
            raise PermissionDenied(f"the store refused to watch {key!r}")

    def _pause(self, seconds: float) -> None:
        ended = threading.Event()
        self.session.lease.subscribe(ended.set)
        ended.wait(seconds)
        self.session.lease.unsubscribe(ended.set)

    def _lost(self) -> LockLost:
        self._kv.open_engine()  # closing the client is what takes all its places, and is to be named as the reason
        return LockLost(f"the place in line for {self.label!r} is lost: its lease ended or its key was removed")

    # leaving ---------------------------------------------------------------------------------------------------------

    def leave(self) -> bool:
        """Delete the own key, in the background if it fails at once. Return False if there was none (any more)."""
        lease = self.session.lease
        if lease.inherited:
            return False
        if not self.token and not self._in_doubt:
            self.session.free(self.name, self._slot)
            return False
        try:
            deleted = self._delete(timeout=_LEAVE_TIMEOUT)
        except BaseException as error:
            self._leave_in_background()
            if not isinstance(error, EtcdAeroError):
                raise
            return lease.alive
        if self.token or deleted:
            self.session.free(self.name, self._slot)
        else:  # the put whose answer never came may still arrive after this deletion
            self._leave_in_background()
        return deleted

    def _delete(self, *, timeout: float) -> bool:
        mine = create_revision(self.key) == self.token if self.token else create_revision(self.key) > 0
        return self._kv.txn().when(mine).then(delete(self.key)).commit(timeout=timeout).succeeded

    def _leave_in_background(self) -> None:
        lease = self.session.lease
        limit = time.monotonic() + lease.ttl
        attempt = 0

        def retry() -> float | None:
            nonlocal attempt
            if not lease.alive:
                return None
            try:
                done = self._delete(timeout=_LEAVE_TIMEOUT) or self.token > 0
                failed = False
            except EtcdAeroError as error:
                logger.debug("deleting %r: %s", self.key, error)
                done, failed = False, True
            if not done and time.monotonic() < limit:
                attempt += 1
                return backoff(attempt, limit=lease.ttl / 4)
            if failed:
                logger.warning("%r could not be deleted; its session is abandoned", self.key)
                self.session.abandon()
            else:
                self.session.free(self.name, self._slot)
            return None

        self._kv.chores.submit(retry)


def _kvs(response: object) -> tuple[KeyValue, ...]:
    return response.kvs if isinstance(response, RangeResult) else ()
