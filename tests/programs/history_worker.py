"""Run as a program: lock, elect, watch, mirror and transact at once on a cluster, and write down what happened.

``python -m tests.programs.history_worker ENDPOINTS PREFIX NUMBER START_REVISION LOG``

Each line of the log is one record as JSON. A write is noted before it is sent and again when its outcome is known, so
that a killed process leaves its last one behind as "sent". A line on the standard input ends the writing; the watches
end with the key ``end`` of their range, and the process with them.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
import threading
from collections.abc import Callable
from typing import Any

from django_etcdaero.exceptions import EtcdAeroError, OutcomeUnknown
from django_etcdaero.keyvalue import KV, Change, Event, Lock, Resync, ops
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import Compare

PACE = 0.01
"""Seconds between two rounds of one thread: the history stays small enough to be checked."""

REGISTERS = 3

PERMITS = 2
"""How many may hold the semaphore."""


class Log:
    """A file that every thread writes whole lines to."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, **record: Any) -> None:
        os.write(self._descriptor, json.dumps(record).encode() + b"\n")


class Worker:
    def __init__(self, kv: KV, number: str, log: Log) -> None:
        self._kv = kv
        self._number = number
        self._log = log
        self._writes = itertools.count()
        self._quiet = threading.Event()

    def run(self, start_revision: int) -> None:
        ranges = ("registers/", "guarded/")
        readers = [threading.Thread(target=self._follow, args=(prefix, start_revision)) for prefix in ranges]
        readers += [threading.Thread(target=self._mirror, args=(prefix,)) for prefix in ranges]
        rounds = (self._exchange, self._hold_the_lock, self._lead, self._hold_a_permit, self._read, self._rewrite)
        writers = [threading.Thread(target=self._repeat, args=(turn,)) for turn in rounds]
        for thread in (*readers, *writers):
            thread.start()
        print("running", flush=True)
        sys.stdin.readline()
        self._quiet.set()
        for thread in writers:
            thread.join()
        print("quiet", flush=True)
        for thread in readers:
            thread.join()

    def _repeat(self, turn: Callable[[], None]) -> None:
        while not self._quiet.wait(PACE):
            try:
                turn()
            except EtcdAeroError as error:
                self._log.note(kind="error", turn=turn.__name__, error=f"{type(error).__name__}: {error}")

    # writing ---------------------------------------------------------------------------------------------------------

    def _exchange(self) -> None:
        """Put a value into a register if nobody else did since it was read."""
        key = f"registers/{random.randrange(REGISTERS)}"
        found = self._kv.get(key, timeout=2)
        base = found.mod_revision if found else 0
        self._write(key, ops.mod_revision(key) == base, base=base)

    def _hold_the_lock(self) -> None:
        self._hold(self._kv.lock("lock", ttl=3), "guarded/lock")

    def _hold_a_permit(self) -> None:
        self._hold(self._kv.semaphore("permits", PERMITS, ttl=3), "guarded/permits")

    def _read(self) -> None:
        self._hold(self._kv.rwlock("sides", ttl=3).read(), "guarded/read")

    def _rewrite(self) -> None:
        self._hold(self._kv.rwlock("sides", ttl=3).write(), "guarded/write")

    def _hold(self, lock: Lock, key: str) -> None:
        lock.acquire(timeout=5)
        with_token = lock.token
        try:
            for _ in range(3):
                self._write(key, lock.compare(), token=with_token)
        finally:
            lock.release()

    def _lead(self) -> None:
        election = self._kv.election("election", ttl=3, value=self._number)
        election.campaign(timeout=5)
        try:
            for _ in range(3):
                self._write("guarded/election", election.compare(), token=election.token)
        finally:
            election.resign()

    def _write(self, key: str, condition: Compare, **facts: int) -> None:
        name = f"{self._number}-{next(self._writes)}"
        record = {"kind": "write", "name": name, "key": key, **facts}
        self._log.note(**record, outcome="sent")
        value = json.dumps({"name": name, **facts})
        try:
            result = self._kv.txn().when(condition).then(ops.put(key, value)).commit(timeout=3)
        except OutcomeUnknown:
            self._log.note(**record, outcome="unknown")
            raise
        except EtcdAeroError:
            self._log.note(**record, outcome="failed")
            raise
        self._log.note(**record, outcome="done" if result.succeeded else "refused", revision=result.revision)

    # watching --------------------------------------------------------------------------------------------------------

    def _follow(self, prefix: str, start_revision: int) -> None:
        with self._kv.watch(
            prefix, prefix=True, start_revision=start_revision, max_pending=1_000_000, resync=True
        ) as watch:
            for item in watch:
                if isinstance(item, Event):
                    key, revision = item.kv.key.decode(), item.kv.mod_revision
                    self._log.note(kind="event", range=prefix, key=key, revision=revision, value=item.kv.value.decode())
                    if key == f"{prefix}end":
                        return
                elif isinstance(item, Resync):
                    self._log.note(kind="gap", range=prefix, reason=item.reason.value)

    def _mirror(self, prefix: str) -> None:
        def told(change: Change[str]) -> None:
            key, revision = f"{prefix}{change.key}", change.revision
            self._log.note(kind="change", mirror=prefix, key=key, revision=revision, value=change.new)

        with self._kv.mirror(prefix, decode=bytes.decode, timeout=30) as mirror:
            start = {f"{prefix}{key}": value for key, value in mirror.on_change(told).items()}
            self._log.note(kind="mirror", of=prefix, start=start)
            mirror.wait_for(lambda seen: "end" in seen)


def main(endpoints: str, prefix: str, number: str, start_revision: str, log: str) -> None:
    engine = EtcdEngine(endpoints.split(","), timeout=3.0)
    kv = KV(engine, prefix=prefix)
    Worker(kv, number, Log(log)).run(int(start_revision))
    kv.close()
    engine.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
