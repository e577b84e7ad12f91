"""Random histories: the embedded engine does step by step what the plain model of etcd does."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory
from django_etcdaero.keyvalue.values import Operation, RangeRequest, WatchRequest
from tests.keyvalue import requests
from tests.keyvalue.answers import comparable
from tests.keyvalue.recording import Recording
from tests.keyvalue.requests import Surroundings
from tests.keyvalue.store_model import Model
from tests.waiting import wait_until

LEASES = (5, -6, 7)

_numbers = itertools.count()


class Lockstep:
    """Does random things to an engine and to the model, and compares what they say."""

    def __init__(self, data: st.DataObject, *, on_file: bool) -> None:
        self.draw = data.draw
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

    def same(self, ours: Callable[[], Any], theirs: Callable[[], Any], request: Operation | None = None) -> None:
        self.model.expire(self.now)
        answers: list[Any] = []
        for call in (ours, theirs):
            try:
                answer = call()
                answers.append(answer if request is None else comparable(request, answer))
            except EtcdAeroError as error:
                answers.append(type(error))
        assert answers[0] == answers[1]

    def step(self) -> None:
        steps = [self.put, self.delete, self.range, self.txn] * 6
        steps += [self.grant, self.keep_alive, self.revoke, self.time_passes] * 2
        steps += [self.compact, self.reopen, self.replay]
        self.draw(st.sampled_from(steps))()

    @property
    def surroundings(self) -> Surroundings:
        return Surroundings(self.model.revision, self.model.compacted, LEASES, LEASES)

    # what is done ----------------------------------------------------------------------------------------------------

    def put(self) -> None:
        request = self.draw(requests.puts(self.surroundings))
        self.same(lambda: self.engine.put(request), lambda: self.model.run(request), request)

    def delete(self) -> None:
        request = self.draw(requests.deletes(self.surroundings))
        self.same(lambda: self.engine.delete_range(request), lambda: self.model.run(request), request)

    def range(self) -> None:
        request = self.draw(requests.ranges(self.surroundings))
        self.same(lambda: self.engine.range(request), lambda: self.model.run(request), request)

    def txn(self) -> None:
        request = self.draw(requests.txns(self.surroundings))
        self.same(lambda: self.engine.txn(request), lambda: self.model.run(request), request)

    def compact(self) -> None:
        revision, physical = self.model.revision - self.draw(st.integers(-1, 11)), self.draw(st.booleans())
        self.same(lambda: self.engine.compact(revision, physical=physical), lambda: self.model.compact(revision))

    def grant(self) -> None:
        lease, ttl = self.draw(st.sampled_from(LEASES)), self.draw(st.integers(-1, 19))
        self.same(
            lambda: self.engine.lease_grant(ttl, lease_id=lease).id, lambda: self.model.grant(ttl, lease, self.now)
        )

    def keep_alive(self) -> None:
        lease = self.draw(st.sampled_from(LEASES))
        self.same(lambda: self.engine.lease_keep_alive(lease), lambda: self.model.keep_alive(lease, self.now))

    def revoke(self) -> None:
        lease = self.draw(st.sampled_from(LEASES))
        self.same(lambda: self.engine.lease_revoke(lease), lambda: self.model.revoke(lease))

    def time_passes(self) -> None:
        self.now += self.draw(st.floats(0, 6))

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
@settings(max_examples=25, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), steps=st.integers(10, 40))
def test_the_engine_does_what_the_model_does(on_file: bool, data: st.DataObject, steps: int) -> None:
    both = Lockstep(data, on_file=on_file)
    try:
        for _ in range(steps):
            both.step()
        both.compare_everything()
    finally:
        both.close()
