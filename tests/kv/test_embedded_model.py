"""Random histories: the embedded engine does step by step what the plain model of etcd does."""

from __future__ import annotations

import itertools
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.kv.embedded import EmbeddedEngine, drop_memory
from django_etcdaero.kv.engine import (
    Compare,
    CompareOp,
    CompareTarget,
    DeleteRequest,
    Operation,
    PutRequest,
    RangeRequest,
    SortOrder,
    TxnRequest,
    WatchRequest,
)
from tests.kv.recording import Recording
from tests.kv.store_model import Model
from tests.waiting import wait_until

KEYS = [b"a", b"b", b"bb", b"c", b"\x00", b"\xff"]
ENDS = [b"", b"", b"\0", *KEYS]
VALUES = [b"", b"1", b"2", b"\xff\x00"]
LEASES = [5, -6, 7]

_numbers = itertools.count()


class Lockstep:
    """Does random things to an engine and to the model, and compares what they say."""

    def __init__(self, seed: int, *, on_file: bool) -> None:
        self.dice = random.Random(seed)
        self.now = 1000.0
        self.model = Model()
        self.name = f"model-{next(_numbers)}"
        self.directory = Path(tempfile.mkdtemp()) if on_file else None
        self.engine = self.connect()

    def connect(self) -> EmbeddedEngine:
        if self.directory is not None:
            return EmbeddedEngine.file(self.directory / "kv", clock=lambda: self.now, boot="one")
        return EmbeddedEngine.memory(self.name, clock=lambda: self.now)

    def close(self) -> None:
        self.engine.close()
        drop_memory(self.name)
        if self.directory is not None:
            shutil.rmtree(self.directory)

    def same(self, ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
        self.model.expire(self.now)
        answers: list[Any] = []
        for call in (ours, theirs):
            try:
                answers.append(call())
            except EtcdAeroError as error:
                answers.append(type(error))
        assert answers[0] == answers[1]

    def step(self) -> None:
        steps = [self.put, self.put, self.put, self.delete, self.range, self.range, self.txn, self.txn, self.txn]
        steps += [self.grant, self.keep_alive, self.revoke, self.time_passes]
        if self.dice.random() < 0.1:
            steps = [self.compact, self.reopen, self.replay]
        self.dice.choice(steps)()

    # what is drawn ---------------------------------------------------------------------------------------------------

    def chance(self, probability: float) -> bool:
        return self.dice.random() < probability

    def a_put(self) -> PutRequest:
        key, value = self.dice.choice(KEYS), self.dice.choice(VALUES)
        lease = self.dice.choice(LEASES) if self.chance(0.3) else 0
        if self.chance(0.1):
            return PutRequest(key, lease=lease, ignore_value=True)
        if self.chance(0.1):
            return PutRequest(key, value, ignore_lease=True)
        return PutRequest(key, value, lease=lease, prev_kv=self.chance(0.5))

    def a_delete(self) -> DeleteRequest:
        return DeleteRequest(self.dice.choice(KEYS), self.dice.choice(ENDS), prev_kv=self.chance(0.5))

    def a_range(self) -> RangeRequest:
        newest = self.model.revision
        return RangeRequest(
            self.dice.choice(KEYS),
            self.dice.choice(ENDS),
            limit=self.dice.choice([0, 0, -1, 1, 2]),
            revision=self.dice.choice([0, 0, -1, newest, newest - 1, newest - 3, newest - 10, newest + 1]),
            sort_order=self.dice.choice(list(SortOrder)),
            keys_only=self.chance(0.2),
            count_only=self.chance(0.1),
            min_mod_revision=newest - 2 if self.chance(0.1) else 0,
            max_create_revision=newest - 2 if self.chance(0.1) else 0,
        )

    def a_compare(self) -> Compare:
        key, end, op = self.dice.choice(KEYS), self.dice.choice(ENDS), self.dice.choice(list(CompareOp))
        target = self.dice.choice(list(CompareTarget))
        numbers = [0, 1, 2, 5, self.model.revision, self.model.revision - 2]
        operand = self.dice.choice(VALUES) if target is CompareTarget.VALUE else self.dice.choice(numbers)
        return Compare(key, target, op, operand, end)

    def a_txn(self, depth: int = 2) -> TxnRequest:
        def branch() -> list[Operation]:
            makers: list[Callable[[], Operation]] = [self.a_put, self.a_delete, self.a_range]
            if depth:
                makers.append(lambda: self.a_txn(depth - 1))
            return [self.dice.choice(makers)() for _ in range(self.dice.randrange(4))]

        return TxnRequest([self.a_compare() for _ in range(self.dice.randrange(3))], branch(), branch())

    # what is done ----------------------------------------------------------------------------------------------------

    def put(self) -> None:
        request = self.a_put()
        self.same(lambda: self.engine.put(request), lambda: self.model.run(request))

    def delete(self) -> None:
        request = self.a_delete()
        self.same(lambda: self.engine.delete_range(request), lambda: self.model.run(request))

    def range(self) -> None:
        request = self.a_range()
        self.same(lambda: self.engine.range(request), lambda: self.model.run(request))

    def txn(self) -> None:
        request = self.a_txn()
        self.same(lambda: self.engine.txn(request), lambda: self.model.run(request))

    def compact(self) -> None:
        revision, physical = self.model.revision - self.dice.randrange(-1, 12), self.chance(0.5)
        self.same(lambda: self.engine.compact(revision, physical=physical), lambda: self.model.compact(revision))

    def grant(self) -> None:
        lease, ttl = self.dice.choice(LEASES), self.dice.randrange(-1, 20)
        self.same(
            lambda: self.engine.lease_grant(ttl, lease_id=lease).id, lambda: self.model.grant(ttl, lease, self.now)
        )

    def keep_alive(self) -> None:
        lease = self.dice.choice(LEASES)
        self.same(lambda: self.engine.lease_keep_alive(lease), lambda: self.model.keep_alive(lease, self.now))

    def revoke(self) -> None:
        lease = self.dice.choice(LEASES)
        self.same(lambda: self.engine.lease_revoke(lease), lambda: self.model.revoke(lease))

    def time_passes(self) -> None:
        self.now += self.dice.uniform(0, 6)

    def reopen(self) -> None:
        self.engine.close()
        self.engine = self.connect()

    def replay(self) -> None:
        self.model.expire(self.now)
        self.engine.lease_list()
        start = max(self.model.compacted, 1)
        expected = self.model.history(start)
        seen = Recording()
        handle = self.engine.watch(WatchRequest(b"\0", b"\0", start_revision=start, prev_kv=True), seen)
        wait_until(lambda: len(seen.events) >= len(expected), what="the replay")
        handle.cancel()
        assert seen.events == expected

    def compare_everything(self) -> None:
        self.model.expire(self.now)
        assert self.engine.lease_list() == tuple(sorted(self.model.leases))
        for lease, (ttl, end) in self.model.leases.items():
            status = self.engine.lease_time_to_live(lease, keys=True)
            held = sorted(kv.key for kv in self.model.states[self.model.revision].values() if kv.lease == lease)
            assert (status.granted_ttl, status.ttl, sorted(status.keys)) == (ttl, int(end - self.now), held)
        for revision in range(max(self.model.compacted, 1), self.model.revision + 1):
            request = RangeRequest(b"\0", b"\0", revision=revision)
            assert self.engine.range(request) == self.model.run(request)


@pytest.mark.parametrize("on_file", [False, True])
@settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32), steps=st.integers(20, 150))
def test_the_engine_does_what_the_model_does(on_file: bool, seed: int, steps: int) -> None:
    both = Lockstep(seed, on_file=on_file)
    try:
        for _ in range(steps):
            both.step()
        both.compare_everything()
    finally:
        both.close()
