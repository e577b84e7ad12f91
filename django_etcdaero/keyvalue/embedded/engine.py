"""The engine: etcd's operations as short transactions on one SQLite database."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from django_etcdaero.exceptions import DeadlineExceeded, StoreBusy, StoreFull
from django_etcdaero.keyvalue import values
from django_etcdaero.keyvalue.arguments import LARGEST_REQUEST, check_int, check_watch
from django_etcdaero.keyvalue.engine import Clock, Engine, EngineInfo
from django_etcdaero.keyvalue.values import RenewalSink
from django_etcdaero.system import forks
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.durations import check_seconds
from django_etcdaero.system.processes import boot_id

from . import checks, compaction, leases, transactions
from .compaction import Retention
from .database import Database, FileDatabase, memory_database
from .hub import WatchHub
from .ranges import is_point, read_head, read_newest, read_point, read_range
from .watching import EmbeddedWatch
from .writing import Revision

T = TypeVar("T")

_getpid = os.getpid
_EXPIRY_PATIENCE = 0.25
"""Seconds that a read waits for its turn to end leases that are due; it then reads what is there."""
_EXPIRY_PAUSE = 1.0
"""Seconds until a read tries again to end leases, after it could not."""
_SWEEP_ROWS = 1024
"""Rows that compaction looks at in one transaction, unless many more were written."""
_UPKEEP_SHIFT = 7
"""Every 128 revisions, or as many changes, the store is looked after."""
_RENEWED_AT_ONCE = 500
"""So many leases at most are renewed in one transaction, so that other writers get their turn."""


class EmbeddedEngine(Engine):
    """etcd's semantics without a server: see :meth:`memory` and :meth:`file`."""

    marks_caught_up = True

    def __init__(
        self,
        store: Database,
        *,
        timeout: float,
        clock: Clock,
        boot: str,
        retention: Retention,
    ) -> None:
        """Used by :meth:`memory` and :meth:`file`."""
        self.info = EngineInfo("embedded", store.url)
        self._store = store
        self._timeout = self.default_timeout = timeout
        self._clock = clock
        self._boot = boot
        self._retention = retention
        self._pid = _getpid()
        self._closed = False
        self._close_lock = threading.Lock()
        self._rows_written = 0
        self._retry_expiry_at = 0.0
        self._hub = WatchHub(store.watcher, clock=clock, expire=self._expire, poll=store.shared_with_processes)
        store.join(self._hub.wake)
        forks.protect(self)

    @classmethod
    def memory(
        cls,
        name: str = "",
        *,
        timeout: float = 5.0,
        clock: Clock = monotonic,
        retention: Retention = Retention(),  # noqa: B008 - immutable
    ) -> EmbeddedEngine:
        """Open the store ``name`` in the memory of this process.

        All engines of one process that are opened with one name share their data, which outlives them until
        :func:`~.database.drop_memory`. ``timeout`` (seconds) is the default of every call. ``clock`` returns seconds
        that never go back; lease deadlines are measured with it.
        """
        with forks.postponed():
            store = memory_database(name)
            return cls(store, timeout=timeout, clock=clock, boot="", retention=retention)

    @classmethod
    def file(
        cls,
        path: str | os.PathLike[str],
        *,
        busy_timeout: float = 5.0,
        clock: Clock = monotonic,
        boot: str | None = None,
        retention: Retention = Retention(),  # noqa: B008 - immutable
    ) -> EmbeddedEngine:
        """Open the store in the file ``path``, which all processes of one host and user may share.

        The file (mode 0600) and its directory (0700) are made if need be. What was written survives the crash of any
        process; a power cut may lose the last transactions and never damages the file. ``busy_timeout`` (seconds) is
        how long a call waits for other processes unless it is told otherwise. ``clock`` must be the same for all of
        them, as the default is; ``boot`` names the run of the host that it belongs to.

        Raises ``ConfigurationError`` for a place or a file that cannot be used (no permission, another owner, a
        network file system), ``ResponseError`` for a file that is no store, and ``StoreBusy``.
        """
        boot = boot_id() if boot is None else boot
        with forks.postponed():
            store = FileDatabase(os.path.abspath(path), timeout=busy_timeout, restart=_restart(boot, clock))
            return cls(store, timeout=busy_timeout, clock=clock, boot=boot, retention=retention)

    # keys ------------------------------------------------------------------------------------------------------------

    def range(self, request: values.RangeRequest, *, timeout: float | None = None) -> values.RangeResult:
        checks.check_range(request)
        if not is_point(request):
            return self._read(
                lambda cursor, revision: read_range(cursor, request, base=revision, current=revision), timeout
            )
        # The commonest call: one statement, and a look at the leases in the same one.
        if self._closed or self._pid != _getpid():
            raise self._refusal(self._pid)
        patience = self._timeout if timeout is None else check_seconds("timeout", timeout)
        result, due = self._store.reader.read(lambda cursor: read_point(cursor, request), patience)
        if due is not None and due <= self._clock() and self._expire_for_reader(patience):
            result, _ = self._store.reader.read(lambda cursor: read_point(cursor, request), patience)
        return result

    def get(self, key: bytes, *, timeout: float | None = None) -> values.KeyValue | None:
        if type(key) is not bytes or not 0 < len(key) <= LARGEST_REQUEST:
            checks.check_range(values.RangeRequest(key))
        if self._closed or self._pid != _getpid():
            raise self._refusal(self._pid)
        patience = self._timeout if timeout is None else check_seconds("timeout", timeout)
        found = self._store.reader.read(lambda cursor: read_newest(cursor, key), patience)
        if found is not None and found.lease:
            return super().get(key, timeout=timeout)  # which looks at the clock
        return found

    def put(self, request: values.PutRequest, *, timeout: float | None = None) -> values.PutResult:
        checks.check_put(request)
        return self._write(lambda revision: revision.put(request), timeout)

    def delete_range(self, request: values.DeleteRequest, *, timeout: float | None = None) -> values.DeleteResult:
        checks.check_delete(request)
        return self._write(lambda revision: revision.delete_range(request), timeout)

    def txn(self, request: values.TxnRequest, *, timeout: float | None = None) -> values.TxnResult:
        checks.check_txn(request)
        if request.is_read_only:
            return self._read(lambda cursor, base: transactions.run(Revision(cursor, base), request), timeout)
        return self._write(lambda revision: transactions.run(revision, request), timeout)

    def compact(self, revision: int, *, physical: bool = False, timeout: float | None = None) -> None:
        check_int("revision", revision)
        deadline = monotonic() + (self._timeout if timeout is None else check_seconds("timeout", timeout))
        self._write(lambda write: compaction.compact(write.cursor, revision, write.base), timeout)
        while physical and self._write(lambda write: compaction.sweep(write.cursor, _SWEEP_ROWS), timeout):
            if monotonic() >= deadline:
                raise DeadlineExceeded("the compaction is done, its sweeping goes on as the store is written")

    # leases ----------------------------------------------------------------------------------------------------------

    def lease_grant(self, ttl: int, *, lease_id: int = 0, timeout: float | None = None) -> values.LeaseStatus:
        check_int("ttl", ttl)
        check_int("lease_id", lease_id)
        return self._write(
            lambda revision: leases.grant(revision.cursor, ttl, lease_id, boot=self._boot, now=self._clock()), timeout
        )

    def lease_revoke(self, lease_id: int, *, timeout: float | None = None) -> None:
        check_int("lease_id", lease_id)
        self._write(lambda revision: leases.revoke(revision, lease_id), timeout)

    def lease_keep_alive(self, lease_id: int, *, timeout: float | None = None) -> int:
        check_int("lease_id", lease_id)
        return self._write(
            lambda revision: leases.keep_alive(revision.cursor, lease_id, boot=self._boot, now=self._clock()), timeout
        )

    def lease_keep_alive_many(
        self, lease_ids: Sequence[int], sink: RenewalSink, *, clock: Clock = monotonic, timeout: float | None = None
    ) -> None:
        for lease_id in lease_ids:
            check_int("lease_ids", lease_id)
        deadline = monotonic() + (self._timeout if timeout is None else check_seconds("timeout", timeout))
        waiting = tuple(dict.fromkeys(lease_ids))

        def renew(revision: Revision) -> list[int]:
            return leases.keep_alive_many(revision.cursor, some, boot=self._boot, now=self._clock())

        while waiting:
            some, waiting = waiting[:_RENEWED_AT_ONCE], waiting[_RENEWED_AT_ONCE:]
            sent = clock()
            ttls = self._write(renew, max(0.0, deadline - monotonic()))
            for lease_id, ttl in zip(some, ttls, strict=True):
                sink(values.Renewal(lease_id, ttl, sent))

    def lease_time_to_live(
        self, lease_id: int, *, keys: bool = False, timeout: float | None = None
    ) -> values.LeaseStatus:
        check_int("lease_id", lease_id)
        return self._read(
            lambda cursor, _: leases.time_to_live(cursor, lease_id, keys=keys, now=self._clock()), timeout
        )

    def lease_list(self, *, timeout: float | None = None) -> tuple[int, ...]:
        return self._read(lambda cursor, _: leases.ids(cursor), timeout)

    # watches ---------------------------------------------------------------------------------------------------------

    def watch(
        self, request: values.WatchRequest, sink: values.WatchSink, *, timeout: float | None = None
    ) -> values.WatchHandle:
        check_watch(request)
        reader = self._store.reader
        revision, identity = self._read(lambda _, revision: (revision, reader.identity), timeout)
        watch = EmbeddedWatch(request, sink, revision, identity)
        if not self._hub.add(watch):
            raise self._refusal(self._pid)
        return watch

    # life ------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        if self._pid != _getpid():
            self.abandon()
            return
        with self._close_lock:
            closing, self._closed = not self._closed, True
        if closing:
            self._stop_threads()
            self._hub.stop()
            with forks.postponed():
                self._store.leave(self._hub.wake)

    def before_fork(self, timeout: float) -> None:
        self._store.rest(timeout)

    def after_fork_in_parent(self) -> None:
        self._store.resume()

    def abandon(self) -> None:
        self._closed = True
        self._close_lock = threading.Lock()  # another thread may have held the old one at the fork
        self._forget_threads()
        self._store.leak()

    # ------------------------------------------------------------------------------------------------------------------

    def _read(self, work: Callable[[sqlite3.Cursor, int], T], timeout: float | None) -> T:
        """Return ``work(cursor, revision)``, done in a read transaction after leases that are due have ended."""
        if self._closed or self._pid != _getpid():
            raise self._refusal(self._pid)
        patience = self._timeout if timeout is None else check_seconds("timeout", timeout)
        look_for_due = True

        def transaction(cursor: sqlite3.Cursor) -> tuple[T] | None:
            cursor.execute("BEGIN")
            revision, due = read_head(cursor)
            if look_for_due and due is not None and due <= self._clock():
                return None
            result = work(cursor, revision)
            cursor.execute("COMMIT")
            return (result,)

        while True:
            answer = self._store.reader.read(transaction, patience)
            if answer is not None:
                return answer[0]
            look_for_due = self._expire_for_reader(patience)

    def _write(self, work: Callable[[Revision], T], timeout: float | None) -> T:
        if self._closed or self._pid != _getpid():
            raise self._refusal(self._pid)

        def transaction(cursor: sqlite3.Cursor) -> tuple[T, bool]:
            head, due = read_head(cursor)
            revision = Revision(cursor, head)
            if due is not None and due <= (now := self._clock()):
                leases.expire(revision, now)
            result = work(revision)
            rows = revision.rows
            if rows:
                self._rows_written = written = self._rows_written + rows
                if written >> _UPKEEP_SHIFT or head >> _UPKEEP_SHIFT != revision.current >> _UPKEEP_SHIFT:
                    self._look_after(revision)
            return result, rows > 0

        patience = self._timeout if timeout is None else check_seconds("timeout", timeout)
        result, changed = self._store.writer.write(transaction, patience)
        if changed:
            self._store.notify()
        return result

    def _look_after(self, revision: Revision) -> None:
        """Compact and sweep a little, now and then: as a part of ordinary writes, so that nobody waits for it."""
        compaction.retire(revision.cursor, self._retention, revision.current, boot=self._boot, now=self._clock())
        # More than what was written since, or a busy store would be swept ever later.
        compaction.sweep(revision.cursor, max(_SWEEP_ROWS, 4 * self._rows_written))
        self._rows_written = 0

    def _expire(self, patience: float = _EXPIRY_PATIENCE) -> None:
        self._write(lambda revision: None, min(patience, _EXPIRY_PATIENCE))

    def _expire_for_reader(self, patience: float) -> bool:
        """End the leases that are due; return whether that was possible: nothing in its way stops readers."""
        now = monotonic()
        if now < self._retry_expiry_at:
            return False
        try:
            self._expire(patience)
        except (StoreBusy, StoreFull):
            self._retry_expiry_at = now + _EXPIRY_PAUSE
            return False
        return True


def _restart(boot: str, clock: Clock) -> Callable[[sqlite3.Cursor], None]:
    return lambda cursor: leases.restart_after_boot(cursor, boot, clock())
