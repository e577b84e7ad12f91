"""The guard of a place in the queue: it tells when its key or its lease is gone while its owner still counts on it."""

from __future__ import annotations

from django_etcdaero.exceptions import Cancelled, EtcdAeroError
from django_etcdaero.keyvalue.client.background import TRANSIENT, backoff, logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.lease import Lease
from django_etcdaero.keyvalue.client.loss import LossReason
from django_etcdaero.keyvalue.client.open_watches import Followed, Use
from django_etcdaero.keyvalue.client.steps import Alarm
from django_etcdaero.keyvalue.values import EventType, WatchBatch, WatchHandle, WatchLost, WatchRequest
from django_etcdaero.system.steps import drive


class Guard(Alarm):
    """Watches a key on a lease: the key's deletion, its move to another lease, and the end of the lease.

    The watch is started in the background, so that a short critical section costs nothing more; it starts from the
    revision after the one that showed the key in place, so nothing is missed by that.
    """

    def __init__(self, client: Client, key: bytes, lease: Lease) -> None:
        super().__init__()
        self.gone = False
        self._client = client
        self._key = key
        self._lease = lease
        self._followed = Followed(Use.PLACE)
        self._started = False
        self._stopped = False
        self._removed = False
        self._handle: WatchHandle | None = None
        self._token = 0
        self._start_revision = 0
        self._failures = 0

    def start(self, token: int, revision: int, *, delay: float = 0.0) -> None:
        """Begin to watch the key that was created at revision ``token`` and seen in place at ``revision``.

        ``delay`` is in seconds: what is stopped before costs no watch. Once only; further calls do nothing.
        """
        if self._started:
            return
        self._started = True
        self._token, self._start_revision = token, revision + 1
        self._lease.subscribe(self._end)
        self._client.chores.submit(self._watch, delay=delay)

    def stop(self) -> None:
        """Watch no more; ``gone`` stays as it is, and no listener is called any more."""
        self._stopped = True
        self._lease.unsubscribe(self._end)
        if self._handle is not None:
            self._handle.cancel()

    @property
    def reason(self) -> LossReason | None:
        """Why what it guards is lost; ``None`` while it is not, as far as this process can know."""
        lease = self._lease
        if lease.inherited:
            return LossReason.FORKED
        if self._removed:
            return LossReason.REMOVED
        if lease.alive and not self.gone:
            return None
        return LossReason.CLOSED if self._client.closed else lease.lost_reason or LossReason.REVOKED

    def wake(self) -> None:
        """End the wait of whoever waits for the place. It is not to be held afterwards: no loss would be told."""
        self._ring()

    def report(self) -> None:
        """Be told that the key is gone."""
        alive = self._lease.alive  # else it went with the lease
        with self._mutex:
            if alive and not self._stopped and not self.gone:
                self._removed = True
        self._end()

    def _end(self) -> None:
        with self._mutex:
            if self._stopped or self.gone:
                return
            self.gone = True
        self._ring()

    def _watch(self) -> float | None:
        """Task for the background: see that the key is there, unless that is known, and watch it from there on."""
        if self._stopped or self.gone:
            return None
        timeout = self._lease.ttl / 3
        try:
            if not self._start_revision:
                found = self._client.range(self._key, timeout=timeout)
                if [(kv.create_revision, kv.lease) for kv in found.kvs] != [(self._token, self._lease.id)]:
                    self.report()
                    return None
                self._start_revision = found.revision + 1
            request = WatchRequest(self._key, start_revision=self._start_revision)
            watch = self._client.start_watch(request, self._sink, self._followed, timeout=timeout)
            handle = self._handle = drive(watch)
        except TRANSIENT:
            self._failures += 1
            return backoff(self._failures)
        except Cancelled:  # the client was closed: nobody counts on the place any more
            return None
        except EtcdAeroError as error:
            logger.warning("%r is guarded by its lease only: %s", self._key, error)
            return None
        self._failures = 0
        self._cancel_if_stopped(handle)
        return None

    def _cancel_if_stopped(self, handle: WatchHandle) -> None:
        if self._stopped:
            handle.cancel()

    def _sink(self, batch: WatchBatch) -> None:
        if any(event.type is EventType.DELETE or event.kv.lease != self._lease.id for event in batch.events):
            self.report()
        elif batch.lost in (WatchLost.COMPACTED, WatchLost.RESET):
            self._start_revision = 0
            self._client.chores.submit(self._watch)
