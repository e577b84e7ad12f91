"""The transaction that ends a refresh happens once, or not at all."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from django_etcdaero.datasets.publish.commit import TRIES, GuardedCommit
from django_etcdaero.datasets.state.stored_state import Checked
from django_etcdaero.exceptions import ClusterError, Fenced, OutcomeUnknown
from django_etcdaero.keyvalue.ops import put
from django_etcdaero.keyvalue.queue.lock import Lock
from tests.datasets.hosting import FakeHost, publish

CHECKED = Checked(id="mine", load_started=1.0, load_seconds=1.0, version=1, request_revision=0, host="h", pid=1)


class Scene:
    """A dataset with one version, and a refresh of it that is about to end."""

    def __init__(self, host: FakeHost, dataset: Any) -> None:
        self.host = host
        self.dataset = dataset
        self.layout = dataset.layout("t")
        self.lock: Lock = host.kv.lock(self.layout.lock)
        self.lock.acquire()
        self.lost = 0
        self.commit = GuardedCommit(host.kv, self.layout, host.state(dataset), self.lock, self.lose)

    def lose(self) -> None:
        self.lost += 1

    def run(self) -> int:
        return self.commit.run(CHECKED, [put("done", "yes")])

    @property
    def done(self) -> bool:
        return self.host.kv.get("done") is not None

    def drop_lock(self) -> None:
        self.host.kv.delete_range(self.layout.lock + "/", prefix=True)


@pytest.fixture
def scene(host: FakeHost, declare: Any) -> Scene:
    prices = declare()
    publish(prices)
    return Scene(host, prices)


def test_it_notes_the_load_and_runs_the_operations_in_one_revision(scene: Scene) -> None:
    scene.host.kv.put(scene.layout.attempt, "failed before")
    revision = scene.run()
    checked, done = scene.host.kv.get(scene.layout.checked), scene.host.kv.get("done")
    assert checked is not None
    assert done is not None
    assert checked.mod_revision == done.mod_revision == revision
    assert scene.host.kv.get(scene.layout.attempt) is None
    assert scene.lost == 0
    scene.lock.release()


@pytest.mark.parametrize("key", ["announcement", "pin", "checked"])
def test_it_is_refused_when_one_of_the_keys_has_moved(scene: Scene, key: str) -> None:
    name = getattr(scene.layout, key)
    stored = scene.host.kv.get(name)
    pin = b'{"version": 1, "at": 1, "host": "h", "pid": 1}'
    scene.host.kv.put(name, pin if stored is None else stored.value)
    with pytest.raises(Fenced):
        scene.run()
    assert not scene.done
    assert scene.lost == 0
    scene.lock.release()


def test_a_lost_lock_is_told_and_no_obstacle(scene: Scene) -> None:
    scene.drop_lock()
    scene.run()
    assert scene.done
    assert scene.lost == 1


def test_a_lock_that_another_one_holds_by_now_is_no_obstacle_and_stays_theirs(scene: Scene) -> None:
    scene.drop_lock()
    other = scene.host.other().kv.lock(scene.layout.lock)
    other.acquire()
    scene.run()
    assert scene.done
    assert scene.lost == 1
    assert other.held
    other.check()
    other.release()


def test_of_two_that_overlap_the_one_that_is_through_first_is_done_and_the_other_refused(scene: Scene) -> None:
    scene.drop_lock()
    other = scene.host.other()
    state = other.state(scene.dataset)
    lock = other.kv.lock(scene.layout.lock)
    lock.acquire()
    second = GuardedCommit(other.kv, scene.layout, state, lock, scene.lose)
    scene.run()
    with pytest.raises(Fenced, match="another load was finished while this one was under way: by h/1"):
        second.run(dataclasses.replace(CHECKED, id="of the other"))
    lock.release()


def test_a_lock_that_is_lost_at_the_last_moment_is_told(scene: Scene) -> None:
    real = scene.host.engine.txn

    def lose_it_first(request: Any, *, timeout: float | None = None) -> Any:
        written = {getattr(each, "key", b"").decode(errors="replace") for each in request.success}
        if request.compares and any(key.endswith(scene.layout.checked) for key in written):
            scene.drop_lock()
        return real(request, timeout=timeout)

    scene.host.engine.txn = lose_it_first  # type: ignore[method-assign]
    scene.run()
    assert (scene.lost, scene.done) == (1, True)


@pytest.mark.parametrize("applied", [True, False])
def test_an_unknown_outcome_is_looked_up(scene: Scene, applied: bool) -> None:
    scene.host.engine.fail("txn", OutcomeUnknown("?"), applied=applied)
    revision = scene.run()
    done = scene.host.kv.get("done")
    assert done is not None
    assert (done.version, done.mod_revision) == (1, revision)
    scene.lock.release()


def test_an_outcome_that_stays_unknown_is_told_as_such(scene: Scene) -> None:
    scene.host.engine.fail("txn", OutcomeUnknown("?"), times=TRIES)
    with pytest.raises(OutcomeUnknown):
        scene.run()
    assert not scene.done
    scene.lock.release()


def test_other_errors_are_passed_on(scene: Scene) -> None:
    scene.host.engine.fail("txn", ClusterError("away"))
    with pytest.raises(ClusterError):
        scene.run()
    assert not scene.done
    scene.lock.release()
