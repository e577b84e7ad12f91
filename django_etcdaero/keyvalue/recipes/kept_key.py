"""A key that this process keeps in the store, on a lease of its own: putting it there, and knowing whether it still is.

What is known comes from two sources: the answers to one's own writes, and a watch of the key. Both name a revision of
the store, and the newer one is right, in whatever order they come. A key is one's own as long as it is on one's own
lease.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from django_etcdaero.exceptions import EtcdAeroError, KeyExists
from django_etcdaero.keyvalue.arguments import check_flag
from django_etcdaero.keyvalue.client.background import logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.lease import Lease, check_ttl
from django_etcdaero.keyvalue.client.open_watches import Followed, Use
from django_etcdaero.keyvalue.client.steps import Commit, seconds_left
from django_etcdaero.keyvalue.ops import create_revision, put
from django_etcdaero.keyvalue.values import (
    Event,
    EventType,
    PutRequest,
    WatchBatch,
    WatchHandle,
    WatchLost,
    WatchRequest,
)
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.durations import check_seconds
from django_etcdaero.system.steps import Call, drive

from . import predecessor

LEAVE_TIMEOUT = 2.0
"""Seconds that the revocation of the lease may take."""


class KeptKey:
    """One key, from :meth:`create` to :meth:`leave`."""

    lease: Lease
    """What the key is on; its owner may give it another one when this has ended."""

    def __init__(
        self,
        client: Client,
        key: bytes,
        what: str,
        *,
        ttl: int,
        lost: Callable[[str], object],
        wake: Callable[[], object],
        about: bytes | None = None,
    ) -> None:
        """``lost(why)`` is called when the watch saw that the key is not one's own (any more), ``wake()`` when there is
        something to be done: the key does not exist, or nobody watches it any more. ``what`` names it in messages."""
        check_ttl(ttl)
        self.key = key
        self.ttl = ttl
        self.placed = False
        """The key is in the store and one's own."""
        self.doubted = False
        """That may not be so any more."""
        self._about = about
        self._client = client
        self._what = what
        self._lost = lost
        self._wake = wake
        self._followed = Followed(Use.KEY)
        self._mutex = threading.Lock()
        self._revision = 0  # of the store, when it was as noted
        self._watch: WatchHandle | None = None
        self._watches = 0
        self._ended = False

    # putting it there, and taking it away ----------------------------------------------------------------------------

    async def create(self, value: bytes, *, replace: bool, watched: bool, timeout: float | None) -> int:
        """Put the key, on a new lease, and watch it if it is to be ``watched`` at once; return the revision.

        Takes ``timeout`` seconds (``None``: the engine's default). Raises ``KeyExists`` unless ``replace``, and what
        granting a lease, a transaction and a watch raise; nothing stays in the store then, or not for longer than the
        time to live.
        """
        check_flag("replace", replace)
        client = self._client
        patience = client.open_engine().default_timeout if timeout is None else check_seconds("timeout", timeout)
        limit = monotonic() + patience
        self.lease = await Call(client.lease, client.alease, self.ttl, timeout=patience)
        try:
            puts = self.puts(value)
            txn = client.txn().then(*puts)
            if not replace:
                txn = txn.when(create_revision(self.key) == 0)
                if self._about is not None:
                    txn = txn.otherwise(*predecessor.reads(self.key))
            result = await Commit(txn, max(0.0, limit - monotonic()))
            revision = result.revision
            if not result.succeeded:
                revision = 0
                if self._about is not None:
                    revision = await predecessor.succeed(client, self.key, result, puts, lambda: seconds_left(limit))
                if not revision:
                    raise KeyExists(f"{self._what} exists already")
            self.note(revision, placed=True)
            if watched:
                await self.watch(timeout=seconds_left(limit))
        except BaseException as error:
            self.lease.end(lost=False)
            if isinstance(error, Exception) and (left := limit - monotonic()) > 0:
                await self.leave(timeout=min(LEAVE_TIMEOUT, left))
            else:
                self.leave_in_background()
            raise
        return revision

    def puts(self, value: bytes) -> list[PutRequest]:
        """Return the writes that put the key, and who holds it."""
        own = [put(self.key, value, lease=self.lease)]
        if self._about is not None:
            own.append(put(predecessor.second_key(self.key), self._about, lease=self.lease))
        return own

    async def leave(self, *, timeout: float = LEAVE_TIMEOUT) -> None:
        """Delete the key, if it still is one's own, by ending the lease. A failure is logged."""
        try:
            await Call(self.lease.revoke, self.lease.arevoke, timeout=timeout)
        except EtcdAeroError as error:
            logger.warning("%s could not be deleted and will run out: %s", self._what, error)

    def leave_in_background(self) -> None:
        """Delete the key as :meth:`leave` does, without waiting for it."""
        self._client.chores.submit(lambda: drive(self.leave()))

    def abort(self) -> None:
        """Watch the key no more, and delete it in the background if it has been put."""
        self.end()
        if hasattr(self, "lease"):
            self.leave_in_background()

    # finding out -----------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """The key is about to be read: there is no doubt any more, until the next one."""
        with self._mutex:
            self.doubted = False
            if self._watch is None:
                self._revision = 0  # no watch knows anything newer, and the store may begin anew at revision 1

    def note(self, revision: int, *, placed: bool) -> bool:
        """Note how things stood at a revision of the store. False: something newer is known already."""
        with self._mutex:
            if revision < self._revision:
                return False
            self._revision = revision
            self.placed = placed
            return True

    async def watch(self, *, timeout: float) -> None:
        """See to it that the key is watched from what is known on; ``timeout`` (seconds) is for starting that."""
        with self._mutex:
            if self._watch is not None:
                return
            self._watches += 1
            number = self._watches
            request = WatchRequest(self.key, start_revision=self._revision + 1)
        handle = await self._client.start_watch(
            request, lambda batch: self._see(number, batch), self._followed, timeout=timeout
        )
        with self._mutex:
            if number == self._watches and not self._ended:
                self._watch = handle
                return
        handle.cancel()

    def end(self) -> None:
        """Watch the key no more, now and later. Idempotent."""
        with self._mutex:
            self._ended = True
            watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()

    def _see(self, number: int, batch: WatchBatch) -> None:
        """Sink of the watch."""
        if number != self._watches or self._ended:
            return
        for event in batch.events:
            self._see_event(event)
        if batch.lost in (WatchLost.COMPACTED, WatchLost.RESET):
            with self._mutex:
                self._watches += 1
                self._watch = None
                self.doubted = True
            self._wake()
        elif batch.lost is WatchLost.REFUSED:
            logger.warning("%s is tended by its lease only: the watch was refused", self._what)

    def _see_event(self, event: Event) -> None:
        gone = event.type is EventType.DELETE
        own = not gone and event.kv.lease == self.lease.id
        if not self.note(event.kv.mod_revision, placed=own) or own:
            return
        self._lost("it was deleted" if gone else "somebody else has it")
        if gone:
            self._wake()
