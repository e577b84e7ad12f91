"""One watch: whether the store accepts it, and how far it has got."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue.delivery import Delivery
from django_etcdaero.keyvalue.etcd.connection.gate import waker
from django_etcdaero.keyvalue.etcd.messages.wire import events
from django_etcdaero.keyvalue.values import Event, PromptSink, WatchBatch, WatchLost, WatchRequest, WatchSink
from django_etcdaero.system.conditions import Flag
from django_etcdaero.system.steps import Step


class Settlement(Flag):
    """Set once and for all."""

    __slots__ = ("_listener", "_mutex")

    def __init__(self) -> None:
        super().__init__()
        self._mutex = threading.Lock()
        self._listener: Callable[[], object] | None = None

    def set(self) -> None:
        """Wake all threads that wait and call the listener."""
        super().set()
        with self._mutex:
            listener, self._listener = self._listener, None
        if listener is not None:
            listener()

    def listen(self, listener: Callable[[], object]) -> None:
        """Call ``listener()`` from the thread that sets it, now if it is set. A new listener replaces the last one."""
        with self._mutex:
            self._listener = listener
        if self.is_set():
            self.set()


class Settled(Step[bool]):
    """Wait until a settlement is set, for some seconds at most; the answer is whether it is."""

    __slots__ = ("_seconds", "_settlement")

    def __init__(self, settlement: Settlement, seconds: float) -> None:
        self._settlement = settlement
        self._seconds = seconds

    def block(self) -> bool:
        return self._settlement.wait(self._seconds)

    async def suspend(self) -> bool:
        told, tell = waker()
        self._settlement.listen(tell)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                await told
        return self._settlement.is_set()


class EtcdWatch(Delivery):
    """A running watch. The hub's thread moves it forward and calls a prompt sink, the thread of sinks any other."""

    def __init__(self, request: WatchRequest, sink: WatchSink, forget: Callable[[EtcdWatch], None]) -> None:
        """``forget`` is called when the watch is cancelled."""
        super().__init__(request, sink)
        self.next_revision = max(0, request.start_revision)
        """First revision not received yet; 0 until the store has accepted a watch without a start revision."""
        self.established = False
        """The store has accepted it once."""
        self.settled = Settlement()
        """Set when it is known whether the store accepts it."""
        self.error: EtcdAeroError | None = None
        """Why it could not even be asked for."""
        self.prompt = isinstance(sink, PromptSink)
        """Its sink may be given events at once, by the thread that has received them."""
        self._pid = os.getpid()
        self._forget = forget
        self._fragments: list[Event] = []
        self._partial = 0
        """Events of the next revision that were delivered, the rest having not come yet; only with ``fragment``."""
        self._skip = 0
        """How many of them a stream that begins anew will send again."""

    def cancel(self) -> None:
        self._ended = True
        if self._pid != os.getpid():  # in a fork: whoever held a lock in the parent will not release it here
            return
        self._forget(self)
        super().cancel()

    def accept(self, revision: int) -> None:
        """Note that the store has accepted it at ``revision``."""
        self.established = True
        self.next_revision = self.next_revision or revision + 1
        self._fragments.clear()
        self._skip = self._partial
        self.settled.set()

    def receive(self, answer: Any) -> WatchBatch | None:
        """Take what the server sent; return what the sink is to be given, if anything yet.

        An answer without events is a mark of progress. Events that were received before are left out: a fresh watch on
        a member that lags behind begins in the past.
        """
        received = events(answer.events)
        if not received and not self._fragments:
            revision = answer.header.revision
            if revision >= self.next_revision:
                self.next_revision, self._partial = revision + 1, 0
            return WatchBatch((), revision) if self.request.progress_notify else None
        if received and received[0].kv.mod_revision < self.next_revision:
            received = [event for event in received if event.kv.mod_revision >= self.next_revision]
        self._fragments += received
        if self._skip:
            again, self._skip = self._skip, max(0, self._skip - len(self._fragments))
            del self._fragments[:again]
        if not self._fragments or (answer.fragment and not self.request.fragment):
            return None
        batch = WatchBatch(tuple(self._fragments), self._fragments[-1].kv.mod_revision)
        self._fragments.clear()
        if answer.fragment:
            already = self._partial if batch.revision == self.next_revision else 0
            self._partial = already + sum(event.kv.mod_revision == batch.revision for event in batch.events)
            self.next_revision = batch.revision
        else:
            self._partial = 0
            self.next_revision = batch.revision + 1
        return batch


def lost(why: WatchLost, revision: int, compact_revision: int = 0) -> WatchBatch:
    """Return the last batch of a watch."""
    return WatchBatch((), revision, why, compact_revision)
