"""A state machine above the waist: the recipes do the same on the embedded engine and on a real etcd."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue import KV, Engine, SortTarget
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory
from django_etcdaero.keyvalue.queue.election import Election
from django_etcdaero.keyvalue.queue.lock import Lock
from django_etcdaero.keyvalue.recipes.attempt import Isolation
from django_etcdaero.keyvalue.recipes.stm import Transaction
from django_etcdaero.keyvalue.recipes.temporary import TemporaryKey
from tests.waiting import wait_until

NAMES = ["a", "b", "b/1", "c"]
VALUES = ["", "1", "-7", "text"]
_MOMENT = 0.05
"""Seconds to wait in line for what nobody gives back."""

_numbers = itertools.count()
_names = st.sampled_from(NAMES)
_values = st.sampled_from(VALUES)
_clients = st.integers(0, 1)


class Program:
    """A function for ``KV.stm``: it reads and writes, and in its first attempt somebody else writes in between."""

    def __init__(self, steps: Sequence[tuple[str, str, str]], disturb: Callable[[], object] | None) -> None:
        self._steps = steps
        self._disturb = disturb
        self._attempts = 0

    def __call__(self, tx: Transaction) -> object:
        self._attempts += 1
        seen: list[object] = []
        for number, (verb, name, value) in enumerate(self._steps):
            if number == 1 and self._attempts == 1 and self._disturb is not None:
                self._disturb()
            match verb:
                case "get":
                    seen.append(tx.get(f"k/{name}"))
                case "range":
                    seen.append(tx.range("k/", prefix=True))
                case "put":
                    tx.put(f"k/{name}", value)
                case "delete":
                    tx.delete(f"k/{name}")
        return seen, self._attempts


class Recipes(RuleBasedStateMachine):
    """Both sides have two clients, and each command goes to one of them, the same one on both sides."""

    etcd: ClassVar[Callable[[], Sequence[Engine]]]
    """Returns two clients of a server."""
    counts: ClassVar[Counter[str]]
    """Commands so far, by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.name = f"recipes-{next(_numbers)}"
        self.embedded = [EmbeddedEngine.memory(self.name) for _ in range(2)]
        prefix = f"{self.name}/"
        self.sides = [[KV(engine, prefix=prefix) for engine in each] for each in (self.embedded, type(self).etcd())]
        self.locks: dict[tuple[int, str], tuple[Lock, Lock]] = {}
        self.elections: dict[tuple[int, str], tuple[Election, Election]] = {}
        self.shared: dict[tuple[int, str, int], tuple[Lock, Lock]] = {}
        self.temporary: dict[str, list[TemporaryKey]] = {}
        self.mirrors = [side[1].mirror("k/") for side in self.sides]
        self.differs = False

    def same(self, kind: str, call: Callable[[int], Any]) -> Any:
        """Do something on side 0 and on side 1 and compare the results or the classes of the errors."""
        type(self).counts[kind] += 1
        results: list[Any] = []
        for side in range(2):
            try:
                results.append(call(side))
            except EtcdAeroError as error:
                results.append(type(error))
        self.differs = self.differs or results[0] != results[1]
        assert results[0] == results[1], f"{kind}: {results[0]!r} embedded, {results[1]!r} etcd"
        return results[0]

    def same_keys(self) -> None:
        def content(side: int) -> list[tuple[bytes, bytes, int, bool]]:
            kvs = self.sides[side][0].range("k/", prefix=True).kvs
            return [(kv.key, kv.value, kv.version, kv.lease != 0) for kv in kvs]

        self.same("keys", content)

        def mirrored(side: int) -> list[tuple[str, bytes]]:
            now = {
                kv.key.decode().removeprefix("k/"): kv.value for kv in self.sides[side][0].range("k/", prefix=True).kvs
            }
            self.mirrors[side].wait_for(lambda copy: dict(copy) == now, timeout=10)
            return [*self.mirrors[side].items()]

        self.same("mirror", mirrored)

    # keys ------------------------------------------------------------------------------------------------------------

    @rule(name=_names, value=_values, client=_clients)
    def put(self, name: str, value: str, client: int) -> None:
        self.same("put", lambda side: self.sides[side][client].put(f"k/{name}", value).prev_kv)

    @rule(name=_names, prefix=st.booleans(), client=_clients)
    def delete(self, name: str, prefix: bool, client: int) -> None:
        self.same("delete", lambda side: self.sides[side][client].delete_range(f"k/{name}", prefix=prefix).deleted)

    @rule(name=_names, delta=st.integers(-3, 10**20), initial=st.integers(-2, 2), client=_clients)
    def increment(self, name: str, delta: int, initial: int, client: int) -> None:
        self.same("increment", lambda side: self.sides[side][client].increment(f"k/{name}", delta, initial=initial))
        self.same_keys()

    @rule(name=_names, expected=st.none() | _values, value=_values, client=_clients)
    def test_and_set(self, name: str, expected: str | None, value: str, client: int) -> None:
        self.same("test_and_set", lambda side: self.sides[side][client].test_and_set(f"k/{name}", expected, value))
        self.same_keys()

    @rule(
        steps=st.lists(
            st.tuples(st.sampled_from(["get", "get", "range", "put", "put", "delete"]), _names, _values),
            min_size=1,
            max_size=6,
        ),
        isolation=st.sampled_from(Isolation),
        disturbed=st.none() | _names,
        client=_clients,
    )
    def stm(self, steps: list[tuple[str, str, str]], isolation: Isolation, disturbed: str | None, client: int) -> None:
        def run(side: int) -> object:
            other = self.sides[side][1 - client]
            disturb = None if disturbed is None else (lambda: other.put(f"k/{disturbed}", "5"))
            return self.sides[side][client].stm(Program(steps, disturb), isolation=isolation)

        self.same("stm", run)
        self.same_keys()

    @rule(page_size=st.integers(1, 3), descending=st.booleans(), keys_only=st.booleans(), client=_clients)
    def iterate(self, page_size: int, descending: bool, keys_only: bool, client: int) -> None:
        def read(side: int) -> list[tuple[bytes, bytes]]:
            options = {"page_size": page_size, "descending": descending, "keys_only": keys_only}
            return [(kv.key, kv.value) for kv in self.sides[side][client].iterate("k/", prefix=True, **options)]

        self.same("iterate", read)

    @rule(by=st.sampled_from([SortTarget.KEY, SortTarget.MOD]), last=st.booleans(), client=_clients)
    def ends(self, by: SortTarget, last: bool, client: int) -> None:
        def read(side: int) -> bytes | None:
            kv = self.sides[side][client]
            found = (kv.last if last else kv.first)("k/", prefix=True, by=by)
            # Two keys of one transaction have the same revision, and either may be the first.
            return found and (found.value if by is SortTarget.KEY else b"")

        self.same("first and last", read)

    # locks -----------------------------------------------------------------------------------------------------------

    def lock(self, client: int, name: str) -> tuple[Lock, Lock]:
        if (client, name) not in self.locks:
            one, other = (side[client].lock(name) for side in self.sides)
            self.locks[client, name] = one, other
        return self.locks[client, name]

    @rule(name=st.sampled_from(["L", "M"]), patient=st.booleans(), client=_clients)
    def acquire(self, name: str, patient: bool, client: int) -> None:
        locks = self.lock(client, name)
        if patient:
            self.same(
                "lock acquire", lambda side: locks[side].acquire(timeout=_MOMENT if locks[side].queue() else None)
            )
        else:
            self.same("lock try_acquire", lambda side: locks[side].try_acquire())
        self.same("lock queue", lambda side: [len(locks[side].queue()), locks[side].held, locks[side].lost])

    @precondition(lambda self: self.locks)
    @rule(name=st.sampled_from(["L", "M"]), client=_clients)
    def release(self, name: str, client: int) -> None:
        locks = self.lock(client, name)
        self.same("lock release", lambda side: locks[side].release())
        self.same("lock queue", lambda side: [len(locks[side].queue()), locks[side].held])

    @precondition(lambda self: self.locks)
    @rule(name=st.sampled_from(["L", "M"]), client=_clients)
    def force_release(self, name: str, client: int) -> None:
        locks = self.lock(client, name)
        self.same("lock force_release", lambda side: locks[side].force_release() is not None)
        for holder in range(2):
            for lock in self.lock(holder, name):
                wait_until(lambda lock=lock: not lock.held, what="the loss to be noticed")

    # semaphores and read/write locks ---------------------------------------------------------------------------------

    def shared_lock(self, client: int, kind: str, number: int) -> tuple[Lock, Lock]:
        if (client, kind, number) not in self.shared:
            made = []
            for side in self.sides:
                rwlock = side[client].rwlock("RW")
                make = {"semaphore": lambda side=side: side[client].semaphore("S", 2)}
                made.append(make.get(kind, rwlock.read if kind == "read" else rwlock.write)())
            one, other = made
            self.shared[client, kind, number] = one, other
        return self.shared[client, kind, number]

    @rule(
        kind=st.sampled_from(["semaphore", "read", "write"]),
        number=st.integers(0, 1),
        verb=st.sampled_from(["acquire", "try_acquire", "release", "release"]),
        client=_clients,
    )
    def share(self, kind: str, number: int, verb: str, client: int) -> None:
        locks = self.shared_lock(client, kind, number)

        def is_free(lock: Lock) -> bool:
            roles = [each.role for each in lock.queue()]
            return {"semaphore": len(roles) < 2, "read": "write" not in roles, "write": not roles}[kind]

        def act(side: int) -> object:
            lock = locks[side]
            if verb == "acquire":
                return lock.acquire(timeout=None if is_free(lock) else _MOMENT)
            return getattr(lock, verb)()

        self.same(f"{kind} {verb}", act)
        self.same(
            f"{kind} queue",
            lambda side: ([each.role for each in locks[side].queue()], locks[side].held, locks[side].lost),
        )

    # elections -------------------------------------------------------------------------------------------------------

    def election(self, client: int, name: str) -> tuple[Election, Election]:
        if (client, name) not in self.elections:
            one, other = (side[client].election(name, value=f"client {client}") for side in self.sides)
            self.elections[client, name] = one, other
        return self.elections[client, name]

    @rule(
        name=st.sampled_from(["E", "F"]),
        verb=st.sampled_from(["campaign", "campaign", "proclaim", "resign", "leader"]),
        value=_values,
        client=_clients,
    )
    def elect(self, name: str, verb: str, value: str, client: int) -> None:
        elections = self.election(client, name)
        if verb == "campaign":
            self.same(
                "campaign",
                lambda side: elections[side].campaign(timeout=_MOMENT if elections[side].leader() else None),
            )
        elif verb == "proclaim":
            self.same("proclaim", lambda side: elections[side].proclaim(value))
        elif verb == "resign":
            self.same("resign", lambda side: elections[side].resign())

        def state(side: int) -> object:
            leader = elections[side].leader()
            return leader and leader.value, elections[side].is_leader, len(elections[side].queue())

        self.same("leader", state)

    # temporary keys --------------------------------------------------------------------------------------------------

    @rule(name=_names, value=_values, client=_clients)
    def make_temporary(self, name: str, value: str, client: int) -> None:
        made: list[TemporaryKey] = []

        def make(side: int) -> None:
            made.append(self.sides[side][client].temporary_key(f"t/{name}", value))

        self.same("temporary key", make)
        if made:
            self.temporary[name] = made

    @precondition(lambda self: self.temporary)
    @rule(number=st.integers(0, 9), value=st.none() | _values)
    def change_temporary(self, number: int, value: str | None) -> None:
        name = sorted(self.temporary)[number % len(self.temporary)]
        pair = self.temporary[name]
        if value is None:
            self.same("temporary close", lambda side: pair[side].close())
            del self.temporary[name]
        else:
            self.same("temporary update", lambda side: (pair[side].update(value), pair[side].alive))

        def content(side: int) -> list[tuple[bytes, bytes, int]]:
            return [(kv.key, kv.value, kv.version) for kv in self.sides[side][0].range("t/", prefix=True).kvs]

        self.same("temporary keys", content)

    # the end ---------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            for pair in self.temporary.values():
                for key in pair:
                    key.close()
            for mirror in self.mirrors:
                mirror.close()
            for kv in itertools.chain(*self.sides):
                kv.close()
            if not self.differs:
                for engine in (self.embedded[0], type(self).etcd()[0]):
                    left = KV(engine, prefix=f"{self.name}/").range("", prefix=True).kvs
                    assert [kv.key for kv in left if not kv.key.startswith((b"k/", b"S:limit"))] == []
                    assert [kv.key for kv in left if kv.lease] == []
        finally:
            for engine in self.embedded:
                engine.close()
            drop_memory(self.name)
