"""Keys that live as long as the process that made them: "this worker is up", "this node has that shard".

A :class:`TemporaryKey` puts its key on a lease of its own, renewed in the background, and sees to it that the key is
there until :meth:`~TemporaryKey.close`. When the process dies the key is gone within the time to live, and likewise
when the client is closed before the key. The object need not be held for that.

**What is put back.** A key whose lease was lost (the store was away for longer than the time to live, it was wiped, or
somebody revoked the lease), and a key that somebody deleted: it says that the process is there, and the process still
is. To be rid of it, close it where it was made. A loss and the return are logged.

**What is left alone.** A key is one's own only as long as it hangs on one's own lease. A plain put by somebody else
takes it off, and from then on it is theirs: it is neither overwritten nor deleted here, and :attr:`TemporaryKey.alive`
is false, until they delete it; then it is put back. A change that keeps the lease is respected too. Closing revokes the
lease and does nothing else, so it cannot delete what belongs to others.

**How.** A watch of the key and the end of the lease only wake up a task of the client's background thread, which
compares what is there with what should be and writes on the condition that this is still so.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from django_etcdaero.exceptions import Cancelled, EtcdAeroError, InvalidRequest, KeyExists, LeaseNotFound
from django_etcdaero.keyvalue.arguments import check_seconds
from django_etcdaero.keyvalue.client.background import TRANSIENT, backoff, logger
from django_etcdaero.keyvalue.client.lease import check_ttl
from django_etcdaero.keyvalue.keys import Text, span, to_bytes
from django_etcdaero.keyvalue.txn import create_revision, get, lease_of, mod_revision, put
from django_etcdaero.keyvalue.values import KeyValue, RangeResult

from .key_state import Whereabouts

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.facade import KV

_CLOSE_TIMEOUT = 2.0
"""Seconds that closing waits for the background to finish its turn, and then for the revocation."""


class TemporaryKey:
    """A key of this process; made with :meth:`KV.temporary_key() <django_etcdaero.keyvalue.facade.KV.temporary_key>`.

    As a context manager it closes itself at the end. Safe to share between threads. In the child of a fork it is not
    alive, and closing it there touches nothing.
    """

    def __init__(
        self,
        kv: KV,
        key: Text,
        value: Text = b"1",
        *,
        ttl: int = 10,
        replace: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Put the key, on a new lease of ``ttl`` whole seconds, within ``timeout`` seconds (``None``: the engine's
        default).

        Raises ``KeyExists`` if somebody has the key already, this process included; ``replace=True`` takes it over
        then: of two that do so the later one has it. Also raises what granting a lease and a transaction raise; nothing
        stays in the store then, or not for longer than the time to live.
        """
        self.key, _ = span(key, None, prefix=False)
        self.label = self.key.decode(errors="backslashreplace")
        """The key as text, for messages."""
        check_ttl(ttl)
        self.ttl = ttl
        """Seconds after which the key of a dead process is gone."""
        self._kv = kv
        self._pid = os.getpid()
        self._value = to_bytes(value, name="value")
        self._turn = threading.Lock()  # held during calls, by the background, update() or close()
        self._mutex = threading.Lock()  # held for moments, guards the state below
        self._closed = False
        self._unwritten = False  # the store may have another value than this object
        self._lost = False  # the loss has been logged
        self._wakings = 0
        self._failures = 0
        self._former: set[int] = set()  # leases lost since the key was last placed
        self._whereabouts = Whereabouts(kv, self.key, self.label, own=self._is_own, lost=self._lose, wake=self._wake)
        patience = kv.open_engine().default_timeout if timeout is None else check_seconds("timeout", timeout)
        limit = time.monotonic() + patience
        self._lease = kv.lease(ttl, timeout=patience)
        try:
            self._create(replace=replace, timeout=max(0.0, limit - time.monotonic()))
        except BaseException:
            self._lease.end(lost=False)
            if (left := limit - time.monotonic()) > 0:
                self._leave(timeout=min(_CLOSE_TIMEOUT, left))
            else:
                kv.chores.submit(self._leave)
            raise
        self._lease.subscribe(self._lease_ended)
        self._wake()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "alive" if self.alive else "lost"
        return f"<TemporaryKey {self.label!r} {state}>"

    @property
    def value(self) -> bytes:
        """The value that the key has been given."""
        return self._value

    @property
    def alive(self) -> bool:
        """True while the key is in the store and one's own, as far as this process can know."""
        return not self._closed and self._whereabouts.placed and self._lease.alive

    def update(self, value: Text) -> bool:
        """Give the key another value. Return whether it has been written.

        If not, because the store is away or the key is lost, it is written in the background, as soon as that can be.
        Raises ``InvalidRequest`` if the key is closed, ``Cancelled`` if the client is, and what a transaction raises
        except for errors that may pass; the value stays as it was then.
        """
        new = to_bytes(value, name="value")
        if self._closed:
            raise InvalidRequest(f"temporary key {self.label!r} is closed")
        self._kv.open_engine()
        if not self._turn.acquire(timeout=self._patience):
            with self._mutex:
                self._value, self._unwritten = new, True
            self._wake()
            return False
        try:
            done = self._write(new)
        finally:
            self._turn.release()
        if not done:
            self._wake()
        return done

    def close(self) -> None:
        """Delete the key if it is still one's own, and tend it no more. Idempotent.

        If the store cannot be reached that is logged, and the key is gone within the time to live.
        """
        if self._pid != os.getpid():
            return
        with self._mutex:
            if self._closed:
                return
            self._closed = True
        self._whereabouts.end()
        mine = self._turn.acquire(timeout=_CLOSE_TIMEOUT)
        try:
            self._leave()
        finally:
            if mine:
                self._turn.release()

    def __enter__(self) -> TemporaryKey:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # writing ---------------------------------------------------------------------------------------------------------

    @property
    def _patience(self) -> float:
        return self._lease.ttl / 3

    def _create(self, *, replace: bool, timeout: float) -> None:
        txn = self._kv.txn().then(put(self.key, self._value, lease=self._lease))
        result = (txn if replace else txn.when(create_revision(self.key) == 0)).commit(timeout=timeout)
        if not result.succeeded:
            raise KeyExists(f"temporary key {self.label!r} exists already")
        self._whereabouts.note(result.revision, placed=True)

    def _write(self, new: bytes) -> bool:
        old, self._value = self._value, new
        mine = lease_of(self.key) == self._lease
        write = self._kv.txn().when(mine).then(put(self.key, new, lease=self._lease))
        try:
            done = write.commit(timeout=self._patience).succeeded
        except (*TRANSIENT, LeaseNotFound) as error:
            logger.debug("the new value of temporary key %r is written later: %s", self.label, error)
            done = False
        except BaseException:
            self._value = old
            raise
        self._unwritten = not done
        return done

    def _place(self) -> bool:
        """Have the key in the store, on the lease, unless somebody else has it. False: try again."""
        self._whereabouts.look()
        value = self._value
        lease, timeout = self._lease, self._patience
        ours = put(self.key, value, lease=lease)
        absent = create_revision(self.key) == 0
        result = self._kv.txn().when(absent).then(ours).otherwise(get(self.key)).commit(timeout=timeout)
        if not result.succeeded:
            found = _first(result.responses[0])
            if found.lease not in (lease.id, *self._former):
                self._lose("somebody else has it")
                return self._whereabouts.note(result.revision, placed=False)
            if found.lease != lease.id or (self._unwritten and found.value != value):
                unchanged = mod_revision(self.key) == found.mod_revision
                result = self._kv.txn().when(unchanged).then(ours).commit(timeout=timeout)
                if not result.succeeded:
                    return False
        with self._mutex:
            self._unwritten = self._value != value
        self._former.clear()
        return self._whereabouts.note(result.revision, placed=True)

    def _leave(self, *, timeout: float = _CLOSE_TIMEOUT) -> None:
        try:
            self._lease.revoke(timeout=timeout)
        except EtcdAeroError as error:
            logger.warning("temporary key %r could not be deleted and will run out: %s", self.label, error)

    def _leave_if_closed(self) -> None:
        """Do what :meth:`close` could not, because it waited no longer for the background."""
        if self._closed:
            self._leave()

    # tending ---------------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Have the background look after the key now. What it was about to repeat is dropped."""
        with self._mutex:
            if self._closed:
                return
            self._wakings += 1
            number = self._wakings
        self._kv.chores.submit(lambda: self._tend(number))

    def _tend(self, number: int) -> float | None:
        """Task for the background: bring about what should be; tried again for as long as it fails."""
        with self._turn:
            if self._closed or number != self._wakings:
                return None
            try:
                done = self._restore()
            except Cancelled:
                return None
            except LeaseNotFound:
                self._lease.end(lost=True)
                return backoff(1)
            except EtcdAeroError as error:
                self._failures += 1
                level = logging.WARNING if self._failures == 1 else logging.DEBUG
                logger.log(level, "temporary key %r cannot be tended (try %d): %s", self.label, self._failures, error)
                return backoff(self._failures)
            finally:
                self._leave_if_closed()
            self._failures = 0 if done else self._failures + 1
            return None if done else backoff(self._failures)

    def _restore(self) -> bool:
        whereabouts = self._whereabouts
        if not self._lease.alive:
            self._former.add(self._lease.id)
            whereabouts.placed = False
            self._lease = self._kv.lease(self.ttl, timeout=self._patience)
            self._lease.subscribe(self._lease_ended)
            if self._closed:
                return True
        if (not whereabouts.placed or whereabouts.doubted or self._unwritten) and not self._place():
            return False
        whereabouts.watch(timeout=self._patience)
        if whereabouts.placed and self._lost:
            self._lost = False
            logger.info("temporary key %r is back", self.label)
        return True

    # finding out -----------------------------------------------------------------------------------------------------

    def _is_own(self, found: KeyValue) -> bool:
        return found.lease == self._lease.id

    def _lease_ended(self) -> None:
        if not self._closed:
            self._lose("its lease ended")
            self._wake()

    def _lose(self, why: str) -> None:
        with self._mutex:
            if self._lost or self._closed:
                return
            self._lost = True
        logger.warning("temporary key %r is lost: %s", self.label, why)


def _first(response: object) -> KeyValue:
    assert isinstance(response, RangeResult)
    return response.kvs[0]
