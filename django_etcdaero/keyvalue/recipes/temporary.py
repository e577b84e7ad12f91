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

**What is taken over.** The key that a process of this host left which is dead for certain:
:mod:`django_etcdaero.keyvalue.recipes.predecessor`.

**How.** A watch of the key and the end of the lease only wake up a task of the client's background thread, which
compares what is there with what should be and writes on the condition that this is still so.
"""

from __future__ import annotations

import logging
import os
import threading

from django_etcdaero.exceptions import Cancelled, EtcdAeroError, InvalidRequest, LeaseNotFound
from django_etcdaero.keyvalue import ops
from django_etcdaero.keyvalue.client.background import TRANSIENT, backoff, logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.steps import Commit, seconds_left
from django_etcdaero.keyvalue.keys import Text, span, to_bytes
from django_etcdaero.keyvalue.ops import create_revision, get, lease_of, mod_revision, put
from django_etcdaero.system.acting import acts
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.steps import Take, drive
from django_etcdaero.system.turns import Claim, Turn
from django_etcdaero.system.twins import TwinBlocks, twins

from .kept_key import LEAVE_TIMEOUT, KeptKey
from .predecessor import this_holder

_GRACE = 1.0
"""Seconds after its deadline in which a call has ended, unless something is very wrong."""

_ROUND = 2
"""So many times to live at most pass while the background looks after a key once."""

_SOON = 0.05
"""Seconds after which the background looks again whether it is its turn."""


class TemporaryKey(TwinBlocks):
    """A key of this process; made with :meth:`KV.temporary_key() <django_etcdaero.keyvalue.facade.KV.temporary_key>`.

    As a context manager it closes itself at the end. Safe to share between threads. In the child of a fork it is not
    alive, and closing it there touches nothing.
    """

    def __init__(self, client: Client, key: Text, value: Text = b"1", *, ttl: int = 10) -> None:
        self.key, _ = span(key, None, prefix=False)
        self.label = self.key.decode(errors="backslashreplace")
        """The key as text, for messages."""
        self.ttl = ttl
        """Seconds after which the key of a dead process is gone."""
        self._client = client
        self._pid = os.getpid()
        self._value = to_bytes(value, name="value")
        self._turn = Turn()  # during calls, of the background, update() or close()
        self._mutex = threading.Lock()  # held for moments, guards the state below
        self._closed = False
        self._unwritten = False  # the store may have another value than this object
        self._lost = False  # the loss has been logged
        self._wakings = 0
        self._failures = 0
        self._modified = 0  # the mod revision of what is there; 0: not known
        self._former: set[int] = set()  # leases lost since the key was last placed
        what = f"temporary key {self.label!r}"
        self._kept = KeptKey(client, self.key, what, ttl=ttl, lost=self._lose, wake=self._wake, about=this_holder())

    async def create(self, *, replace: bool, timeout: float | None) -> None:
        """Put the key, on a new lease, within ``timeout`` seconds (``None``: the engine's default). Once."""
        self._modified = await self._kept.create(self._value, replace=replace, watched=False, timeout=timeout)
        self._kept.lease.subscribe(self._lease_ended)
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
        return not self._closed and self._kept.placed and self._kept.lease.alive

    async def _update(self, value: Text) -> bool:
        """Give the key another value. Return whether it has been written.

        If not, because the store is away or the key is lost, it is written in the background, as soon as that can be.
        Raises ``InvalidRequest`` if the key is closed, ``Cancelled`` if the client is, and what a transaction raises
        except for errors that may pass; the value stays as it was then.
        """
        new = to_bytes(value, name="value")
        if self._closed:
            raise InvalidRequest(f"temporary key {self.label!r} is closed")
        self._client.open_engine()
        claim = Claim(self._patience + _GRACE)
        try:
            if not await Take(self._turn, claim, self._patience):
                with self._mutex:
                    self._value, self._unwritten = new, True
                self._wake()
                return False
            done = await self._write(new)
        finally:
            self._turn.give_back(claim)
        if not done:
            self._wake()
        return done

    update, aupdate = twins(_update)

    @acts
    async def _close(self) -> None:
        """Delete the key if it is still one's own, and tend it no more. Idempotent.

        If the store cannot be reached that is logged, and the key is gone within the time to live.
        """
        if self._pid != os.getpid():
            return
        with self._mutex:
            if self._closed:
                return
            self._closed = True
        claim = Claim(LEAVE_TIMEOUT + _GRACE)
        try:
            self._kept.end()
            await Take(self._turn, claim, LEAVE_TIMEOUT)
            await self._kept.leave()
        except BaseException:
            self._kept.leave_in_background()
            raise
        finally:
            self._turn.give_back(claim)

    close, aclose = twins(_close)

    async def _leave(self, error: type[BaseException] | None) -> None:
        await self._close()

    @acts
    def abort(self) -> None:
        """Close it in the background, whatever state it is in."""
        self._closed = True
        self._kept.abort()

    _abort = abort

    # writing ---------------------------------------------------------------------------------------------------------

    @property
    def _patience(self) -> float:
        return self._kept.lease.ttl / 3

    async def _write(self, new: bytes) -> bool:
        old, self._value = self._value, new
        try:
            done = await self._put(new)
        except (*TRANSIENT, LeaseNotFound) as error:
            logger.debug("the new value of temporary key %r is written later: %s", self.label, error)
            done = False
        except EtcdAeroError:
            self._value = old
            raise
        except BaseException:  # interrupted: it may have been written
            self._value, self._unwritten = old, True
            self._wake()
            raise
        self._unwritten = not done
        return done

    async def _put(self, new: bytes) -> bool:
        """Write the value over the one that is there. Return False if the key is not one's own.

        Only over that one: an earlier write whose answer was lost, or not waited for, may be on its way still.
        """
        lease, limit = self._kept.lease, monotonic() + self._patience
        while True:
            own = [lease_of(self.key) == lease]
            if self._modified:
                own.append(mod_revision(self.key) == self._modified)
            write = self._client.txn().when(*own).then(put(self.key, new, lease=lease)).otherwise(get(self.key))
            result = await Commit(write, seconds_left(limit))
            if result.succeeded:
                self._modified = result.revision
                return True
            there = ops.found(result.responses[0])
            if not there or there[0].lease != lease.id:
                return False
            self._modified = there[0].mod_revision

    def _place(self) -> bool:
        """Have the key in the store, on the lease, unless somebody else has it. False: try again."""
        kept = self._kept
        kept.look()
        value = self._value
        lease, timeout = kept.lease, self._patience
        ours = kept.puts(value)
        absent = create_revision(self.key) == 0
        result = self._client.txn().when(absent).then(*ours).otherwise(get(self.key)).commit(timeout=timeout)
        self._modified = result.revision
        if not result.succeeded:
            found = ops.found(result.responses[0])[0]
            self._modified = found.mod_revision
            if found.lease not in (lease.id, *self._former):
                self._lose("somebody else has it")
                return kept.note(result.revision, placed=False)
            if found.lease != lease.id or (self._unwritten and found.value != value):
                unchanged = mod_revision(self.key) == found.mod_revision
                result = self._client.txn().when(unchanged).then(*ours).commit(timeout=timeout)
                if not result.succeeded:
                    return False
                self._modified = result.revision
        with self._mutex:
            self._unwritten = self._value != value
        self._former.clear()
        return kept.note(result.revision, placed=True)

    def _leave_if_closed(self) -> None:
        """Do what :meth:`close` could not, because it waited no longer for the background."""
        if self._closed:
            drive(self._kept.leave())

    # tending ---------------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Have the background look after the key now. What it was about to repeat is dropped."""
        with self._mutex:
            if self._closed:
                return
            self._wakings += 1
            number = self._wakings
        self._client.chores.submit(lambda: self._tend(number))

    def _tend(self, number: int) -> float | None:
        """Task for the background: bring about what should be; tried again for as long as it fails."""
        if self._closed or number != self._wakings:
            return None
        claim = Claim(_ROUND * self.ttl + _GRACE)
        if not self._turn.take(claim):
            return _SOON  # this thread has leases and locks to look after, too
        try:
            done = self._restore()
        except Cancelled:
            return None
        except LeaseNotFound:
            self._kept.lease.end(lost=True)
            return backoff(1)
        except EtcdAeroError as error:
            self._failures += 1
            level = logging.WARNING if self._failures == 1 else logging.DEBUG
            logger.log(level, "temporary key %r cannot be tended (try %d): %s", self.label, self._failures, error)
            return backoff(self._failures)
        finally:
            self._leave_if_closed()
            self._turn.give_back(claim)
        self._failures = 0 if done else self._failures + 1
        return None if done else backoff(self._failures)

    def _restore(self) -> bool:
        kept = self._kept
        if not kept.lease.alive:
            self._former.add(kept.lease.id)
            kept.placed = False
            kept.lease = self._client.lease(self.ttl, timeout=self._patience)
            kept.lease.subscribe(self._lease_ended)
            if self._closed:
                return True
        if (not kept.placed or kept.doubted or self._unwritten) and not self._place():
            return False
        drive(kept.watch(timeout=self._patience))
        if kept.placed and self._lost:
            self._lost = False
            logger.info("temporary key %r is back", self.label)
        return True

    # finding out -----------------------------------------------------------------------------------------------------

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
