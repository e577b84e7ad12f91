"""Threads that stand in line for a lock or in an election."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django_etcdaero.keyvalue import KV, Election, Lock, ops
from django_etcdaero.keyvalue.values import TxnRequest
from tests.waiting import wait_until


def keys(kv: KV, start: str = "") -> list[bytes]:
    return [found.key for found in kv.range(start, prefix=True).kvs]


def in_thread(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


class Queued:
    """Has ``enter()`` called in a thread of its own, and a place in line when it is made."""

    def __init__(self, contest: Lock | Election, enter: Callable[[], object], success: str) -> None:
        """``result`` becomes the error that ``enter`` raised, or ``success``."""
        self.result: object = None
        self._enter = enter
        self._success = success
        before = len(contest.queue())
        in_thread(self._run)
        wait_until(lambda: self.result or len(contest.queue()) > before, what="a place in line")

    def _run(self) -> None:
        try:
            self._enter()
        except Exception as error:
            self.result = error
        else:
            self.result = self._success

    def wait(self) -> object:
        wait_until(lambda: self.result, what="the end of the wait")
        return self.result


class Waiter(Queued):
    """Acquires a lock in a thread of its own; ``result`` is the error or ``"acquired"``."""

    def __init__(self, lock: Lock, timeout: float | None = 30) -> None:
        self.lock = lock
        super().__init__(lock, lambda: lock.acquire(timeout), "acquired")


class Candidate(Queued):
    """Campaigns in a thread of its own; ``result`` is the error or ``"elected"``."""

    def __init__(self, election: Election, timeout: float | None = 30) -> None:
        self.election = election
        super().__init__(election, lambda: election.campaign(timeout=timeout), "elected")


def store_release(kv: KV, lock: Lock) -> TxnRequest:
    """The release of a lock, to be sent past the faults."""
    return kv.keyspace.outward(kv.txn().then(ops.delete("L/" + f"{kv.session(10).lease.id:x}")).request())
