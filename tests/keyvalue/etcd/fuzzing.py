"""Calls of an engine that make little sense, or are given up half-way: what a server must live through."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue.administration.auth import PermissionType
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import (
    Compare,
    CompareOp,
    CompareTarget,
    DeleteRequest,
    Operation,
    PutRequest,
    RangeRequest,
    SortOrder,
    SortTarget,
    TxnRequest,
    WatchRequest,
)

THREADS = 4
TASKS = 16
CHECK_TIMEOUT = 20.0
"""Seconds that a call may take which shows that the server serves."""

_LARGEST = (1 << 63) - 1
_ODD = (0, 1, 2, 3, -1, -2, 127, 1 << 31, (1 << 32) + 1, 9_000_000_000, 9_000_000_001, _LARGEST, -_LARGEST - 1, 1 << 63)


class Call(NamedTuple):
    """A method of the engine, or of one of its parts, and what it is called with."""

    name: str
    arguments: tuple[Any, ...] = ()
    options: dict[str, Any] = {}

    def method(self, engine: EtcdEngine, *, awaitable: bool = False) -> Callable[..., Any]:
        part, _, name = self.name.rpartition(".")
        found: Callable[..., Any] = getattr(getattr(engine, part) if part else engine, "a" * awaitable + name)
        return found


class Interrupted(Exception):
    """What the handler of the signal raises."""


class Chance(random.Random):
    """Makes up calls. What it makes follows from its seed, and from the numbers that the store has shown."""

    revision = 1
    leases: tuple[int, ...] = ()
    endpoint = ""
    directory = Path()

    def key(self) -> bytes:
        kind = self.random()
        if kind < 0.75:
            return b"%s%d" % (self.choice((b"a", b"a/", b"b/c/", b"\0", b"\xff")), self.randrange(20))
        if kind < 0.85:
            return self.choice((b"", b"\0", b"\xff", b"\xff" * 9, b"a\0", b" "))
        return self.randbytes(self.choice((1, 7, 1000, 30_000)))

    def end(self) -> bytes:
        return self.choice((b"", b"", b"\0", b"b", b"\xff\xff", self.key()))

    def value(self) -> bytes:
        kind = self.random()
        return bytes(self.choice((0, 1, 200)) if kind < 0.97 else 100_000 if kind < 0.997 else 1_450_000)

    def odd(self) -> int:
        return self.choice(_ODD)

    def at(self) -> int:
        """A revision: of now, of the past, or of no time at all."""
        kind = self.random()
        if kind < 0.5:
            return 0
        return self.odd() if kind < 0.6 else max(0, self.revision + self.randrange(-300, 5))

    def lease(self) -> int:
        kind = self.random()
        return self.choice(self.leases) if kind < 0.6 and self.leases else 0 if kind < 0.8 else self.odd()

    def rarely(self) -> bool:
        return self.random() < 0.2

    # requests --------------------------------------------------------------------------------------------------------

    def range_request(self) -> RangeRequest:
        bounds = ("min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision")
        return RangeRequest(
            self.key(),
            self.end(),
            limit=self.odd() if self.rarely() else self.randrange(5),
            revision=self.at(),
            sort_order=self.choice(tuple(SortOrder)),
            sort_target=self.choice(tuple(SortTarget)),
            serializable=self.rarely(),
            keys_only=self.rarely(),
            count_only=self.rarely(),
            **{name: self.at() for name in bounds if self.rarely()},
        )

    def put_request(self) -> PutRequest:
        return PutRequest(
            self.key(),
            self.value(),
            lease=self.lease() if self.rarely() else 0,
            prev_kv=self.rarely(),
            ignore_value=self.rarely() and self.rarely(),
            ignore_lease=self.rarely() and self.rarely(),
        )

    def delete_request(self) -> DeleteRequest:
        return DeleteRequest(self.key(), self.end() if self.rarely() else b"", prev_kv=self.rarely())

    def compare(self) -> Compare:
        target = self.choice(tuple(CompareTarget))
        operand = self.value() if target is CompareTarget.VALUE else self.at()
        return Compare(self.key(), target, self.choice(tuple(CompareOp)), operand, self.end() if self.rarely() else b"")

    def operation(self, depth: int, *, reads: bool) -> Operation:
        kind = self.random()
        if kind < 0.15 and depth < 3:
            return self.txn_request(depth + 1, reads=reads)
        if reads or kind < 0.6:
            return self.range_request()
        return self.put_request() if kind < 0.85 else self.delete_request()

    def txn_request(self, depth: int = 0, *, reads: bool | None = None) -> TxnRequest:
        reads = self.random() < 0.5 if reads is None else reads
        most = 130 if depth == 0 and self.random() < 0.02 else 4
        compares, success, failure = (self.randrange(most) for _ in range(3))
        return TxnRequest(
            tuple(self.compare() for _ in range(compares)),
            tuple(self.operation(depth, reads=reads) for _ in range(success)),
            tuple(self.operation(depth, reads=reads) for _ in range(failure)),
        )

    def watch_request(self) -> WatchRequest:
        return WatchRequest(
            self.key(),
            self.end(),
            start_revision=self.at(),
            prev_kv=self.rarely(),
            no_put=self.rarely(),
            no_delete=self.rarely(),
            progress_notify=self.rarely(),
            fragment=self.rarely(),
        )

    # calls -----------------------------------------------------------------------------------------------------------

    def name(self) -> str:
        return self.choice(("u1", "u2", "r1", "r2", "", "\0", "é", "x" * 5000))

    def _auth(self) -> Call:
        name, role, key = self.name(), self.choice(("r1", "r2", self.name())), self.key()
        permission = {"range_end": self.end() or None, "permission": self.choice(tuple(PermissionType))}
        return self.choice(
            (
                # There is no user root, so that it cannot be switched on.
                Call("auth.enable"),
                Call("auth.disable"),
                Call("auth.status"),
                Call("auth.user_add", (name,), {"password": self.choice((None, "", "secret", "x" * 100))}),
                Call("auth.user_get", (name,)),
                Call("auth.user_list"),
                Call("auth.user_delete", (name,)),
                Call("auth.user_change_password", (name,), {"password": self.choice(("", "other", "x" * 100))}),
                Call("auth.user_grant_role", (name, role)),
                Call("auth.user_revoke_role", (name, role)),
                Call("auth.role_add", (role,)),
                Call("auth.role_get", (role,)),
                Call("auth.role_list"),
                Call("auth.role_delete", (role,)),
                Call("auth.role_grant_permission", (role, key), permission),
                Call("auth.role_revoke_permission", (role, key), {"range_end": self.end() or None}),
            )
        )

    def _cluster(self) -> Call:
        # Nothing that could be done: a member that is no learner would take the majority away.
        urls = self.choice(([], [""], ["rubbish"], ["http://"], ["http://127.0.0.1:x"], ["ftp://127.0.0.1:1"]))
        return self.choice(
            (
                Call("cluster.members"),
                Call("cluster.add", (urls,), {"learner": self.rarely()}),
                Call("cluster.add", (["http://127.0.0.1:1"],), {"learner": True}),
                Call("cluster.promote", (self.odd(),)),
                Call("cluster.update", (self.odd(), urls)),
                Call("cluster.remove", (self.odd(),)),
            )
        )

    def _maintenance(self) -> Call:
        return self.choice(
            (
                Call("maintenance.health"),
                Call("maintenance.statuses"),
                Call("maintenance.status", (self.endpoint,)),
                Call("maintenance.alarms"),
                Call("maintenance.disarm"),
                Call("maintenance.defragment", (self.endpoint,)),
                Call("maintenance.hash_kv", (self.endpoint,), {"revision": self.at()}),
                Call("maintenance.move_leader", (self.odd(),)),
                Call("maintenance.snapshot", (self.directory / f"snapshot-{self.randrange(50)}",)),
            )
        )

    def call(self) -> Call:
        kind = self.random()
        if kind < 0.04:
            return self._auth()
        if kind < 0.06:
            return self._cluster()
        if kind < 0.09:
            return self._maintenance()
        return self.choice(
            (
                Call("txn", (self.txn_request(),)),
                Call("txn", (self.txn_request(),)),
                Call("range", (self.range_request(),)),
                Call("put", (self.put_request(),)),
                Call("delete_range", (self.delete_request(),)),
                Call("watch", (self.watch_request(), _ignore)),
                Call("compact", (self.at(),), {"physical": self.rarely()}),
                Call("lease_grant", (self.choice((self.odd(), 2, 5, 60)),), {"lease_id": self.lease()}),
                Call("lease_revoke", (self.lease(),)),
                Call("lease_keep_alive", (self.lease(),)),
                Call("lease_time_to_live", (self.lease(),), {"keys": self.rarely()}),
                Call("lease_list"),
            )
        )

    def patience(self) -> float | None:
        """Seconds, of which many are too few."""
        return self.choice((0.0005, 0.002, self.uniform(0.0, 0.03), 1.0, None))


class Fuzz:
    """Makes calls to one server until it is told to stop, in threads, in tasks, and in the main thread with signals."""

    def __init__(self, endpoint: str, directory: Path, seed: int) -> None:
        self._endpoint = endpoint
        self._directory = directory
        self._seed = seed
        self._parts = 0
        self._engines = [EtcdEngine([endpoint], timeout=3) for _ in range(2)]
        self.calls: Counter[str] = Counter()
        """Calls that were made, by method."""
        self.ends: Counter[str] = Counter()
        """How they ended."""

    def chance(self) -> Chance:
        """Make the source of chance for one part, which knows how far the store has got."""
        self._parts += 1
        chance = Chance(self._seed * 1_000_003 + self._parts)
        chance.endpoint, chance.directory = self._endpoint, self._directory
        engine = EtcdEngine([self._endpoint], timeout=CHECK_TIMEOUT)
        chance.leases = engine.lease_list()
        chance.revision = engine.put(PutRequest(b"looked")).revision
        engine.close()
        return chance

    def batch(self, calls: int) -> None:
        """Make about so many calls, a third in each way, and close an engine while they are made."""
        share = calls // (3 * THREADS)
        threads = [threading.Thread(target=self._in_thread, args=(self.chance(), share)) for _ in range(THREADS)]
        tasks = threading.Thread(target=lambda: asyncio.run(self._in_tasks(self.chance(), calls // 3)))
        for thread in (*threads, tasks):
            thread.start()
        self._with_signals(self.chance(), calls // 3)
        closed, self._engines = self._engines[0], [*self._engines[1:], EtcdEngine([self._endpoint], timeout=3)]
        closed.close()
        for thread in (*threads, tasks):
            thread.join()

    def close(self) -> None:
        for engine in self._engines:
            engine.close()

    def _note(self, call: Call, end: str) -> None:
        self.calls[call.name] += 1
        self.ends[end] += 1

    def _make(self, chance: Chance, call: Call, engine: EtcdEngine) -> None:
        try:
            answer = call.method(engine)(*call.arguments, timeout=_seconds(call, chance.patience()), **call.options)
            if call.name == "watch" and chance.random() < 0.9:
                answer.cancel()
        except EtcdAeroError as error:
            self._note(call, type(error).__name__)
        else:
            self._note(call, "answered")

    def _in_thread(self, chance: Chance, calls: int) -> None:
        for _ in range(calls):
            self._make(chance, chance.call(), self._engines[-1])

    def _with_signals(self, chance: Chance, calls: int) -> None:
        armed = False

        def interrupt(*_: object) -> None:
            if armed:  # not between two calls
                raise Interrupted

        former = signal.signal(signal.SIGALRM, interrupt)
        try:
            for _ in range(calls):
                call = chance.call()
                try:
                    try:
                        armed = True
                        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.02))
                        self._make(chance, call, self._engines[-1])
                    finally:
                        armed = False
                        signal.setitimer(signal.ITIMER_REAL, 0)
                except Exception as error:
                    if not _was_interrupted(error):
                        raise
                    self._note(call, "interrupted")
        finally:
            signal.signal(signal.SIGALRM, former)

    async def _in_tasks(self, chance: Chance, calls: int) -> None:
        left = iter(range(calls))

        async def one_by_one() -> None:
            for _ in left:
                call, engine = chance.call(), self._engines[-1]
                method = call.method(engine, awaitable=True)
                patience = chance.patience()
                task = asyncio.ensure_future(
                    _awaited(method(*call.arguments, timeout=_seconds(call, patience), **call.options))
                )
                if chance.random() < 0.5:
                    await asyncio.sleep(chance.uniform(0.0, 0.01))
                    task.cancel()
                try:
                    answer = await task
                    if call.name == "watch" and chance.random() < 0.9:
                        answer.cancel()
                except EtcdAeroError as error:
                    self._note(call, type(error).__name__)
                except asyncio.CancelledError:
                    self._note(call, "cancelled")
                else:
                    self._note(call, "answered")

        await asyncio.gather(*(one_by_one() for _ in range(TASKS)))


def _was_interrupted(error: BaseException | None) -> bool:
    """Tell whether it comes from the signal: starting a thread, Python makes another error of it."""
    while error is not None and not isinstance(error, Interrupted):
        error = error.__context__
    return error is not None


async def _awaited(call: Awaitable[Any]) -> Any:
    return await call


def _seconds(call: Call, patience: float | None) -> float | None:
    """Some methods have defaults of their own."""
    return 3.0 if patience is None and call.name in ("maintenance.defragment", "maintenance.snapshot") else patience


def _ignore(_: object) -> None:
    """A sink."""
