"""Writes whose answer is lost, and those that come too late."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from django_etcdaero.exceptions import (
    ClusterError,
    ConfigurationError,
    DeadlineExceeded,
    InvalidRequest,
    KeyExists,
    OutcomeUnknown,
    StoreFull,
    VersionConflict,
)
from django_etcdaero.records.etcd import EtcdStore
from django_etcdaero.records.store import Record
from tests.keyvalue.interposed import InterposedEngine
from tests.records.etcd.conftest import Open

WRITES: dict[str, Callable[[EtcdStore], object]] = {
    "put": lambda store: store.put(b"n", 5),
    "create": lambda store: store.put(b"new", 5, create_only=True),
    "generation": lambda store: store.put(b"n", 5, generation=1),
    "delete": lambda store: store.delete(b"n"),
    "delete of a generation": lambda store: store.delete(b"n", generation=1),
    "touch": lambda store: store.touch(b"n", 60),
    "increment": lambda store: store.increment(b"n", 1),
    "put_many": lambda store: store.put_many({b"new": b"", b"newer": b""}),
    "delete_many": lambda store: store.delete_many([b"n"]),
    "touch_many": lambda store: store.touch_many({b"n": 1}, 60),
    "truncate": lambda store: store.truncate(),
}


@pytest.fixture(params=WRITES)
def write(request: pytest.FixtureRequest) -> Callable[[EtcdStore], object]:
    return WRITES[request.param]


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("error", [OutcomeUnknown("lost"), ClusterError("away"), StoreFull("space exceeded")])
def test_a_write_is_sent_once_and_its_error_is_the_callers(
    store: EtcdStore,
    engine: InterposedEngine,
    write: Callable[[EtcdStore], object],
    error: Exception,
    applied: bool,
) -> None:
    store.put(b"n", 1)
    before = engine.calls["txn"]
    engine.fail("txn", error, applied=applied)
    with pytest.raises(type(error)):
        write(store)
    assert engine.calls["txn"] == before + 1


def test_what_may_have_been_applied_was_applied_once(store: EtcdStore, engine: InterposedEngine) -> None:
    store.put(b"n", 1)
    engine.fail("txn", OutcomeUnknown("lost"), applied=True)
    with pytest.raises(OutcomeUnknown):
        store.increment(b"n", 1)
    assert store.get(b"n") == Record(2, 2, None)


def meanwhile(engine: InterposedEngine, other: Callable[[], object]) -> None:
    """Call ``other`` once, right before the next transaction."""

    def once() -> None:
        del engine.before["txn"]
        other()

    engine.before["txn"] = once


def test_a_put_that_comes_second_is_the_later_one(open_store: Open, engine: InterposedEngine) -> None:
    store, other = open_store(), open_store()
    meanwhile(engine, lambda: other.put(b"k", b"other"))
    store.put(b"k", b"mine")
    assert store.get(b"k") == Record(b"mine", 2, None)
    meanwhile(engine, lambda: other.delete(b"k"))
    store.put(b"k", b"anew")
    assert store.get(b"k") == Record(b"anew", 1, None)


def test_a_condition_holds_at_the_moment_of_the_write(open_store: Open, engine: InterposedEngine) -> None:
    store, other = open_store(), open_store()
    store.put(b"k", b"1")
    for call in (
        lambda: store.put(b"k", b"mine", generation=1),
        lambda: store.touch(b"k", 60, generation=1),
        lambda: store.delete(b"k", generation=1),
    ):
        store.delete(b"k")
        store.put(b"k", b"1")
        meanwhile(engine, lambda: other.put(b"k", b"other"))
        with pytest.raises(VersionConflict):
            call()
        assert store.get(b"k") == Record(b"other", 2, None)
    store.delete(b"k")
    meanwhile(engine, lambda: other.put(b"k", b"other"))
    with pytest.raises(KeyExists):
        store.put(b"k", b"mine", create_only=True)


def test_a_record_of_the_same_generation_is_not_the_same_record(open_store: Open, engine: InterposedEngine) -> None:
    """A delete and a put between look and write bring the generation back to what it was."""
    store, other = open_store(), open_store()
    store.put(b"n", 1)

    def replace() -> None:
        other.delete(b"n")
        other.put(b"n", 100)

    meanwhile(engine, replace)
    assert store.increment(b"n", 1) == 101


def test_touch_many_leaves_alone_what_has_changed_meanwhile(open_store: Open, engine: InterposedEngine) -> None:
    store, other = open_store(), open_store()
    store.put_many({b"a": b"A", b"b": b"B", b"c": b"C"})
    reads = engine.calls["txn"]

    def at_the_write() -> None:
        if engine.calls["txn"] == reads + 2:
            del engine.before["txn"]
            other.put(b"b", b"other")
            other.delete(b"c")

    engine.before["txn"] = at_the_write
    assert store.touch_many({b"a": 1, b"b": 1, b"c": None}, 60) == {b"a"}
    assert store.get_many([b"a", b"b", b"c"]) == {b"a": Record(b"A", 2, 60), b"b": Record(b"other", 2, None)}


def test_a_batch_goes_through_although_some_of_it_changes(open_store: Open, engine: InterposedEngine) -> None:
    store, other = open_store(), open_store()
    other.put(b"b", b"older")
    meanwhile(engine, lambda: other.put(b"c", b"other"))
    store.put_many({b"a": b"A", b"b": b"B", b"c": b"C"})
    assert store.get_many([b"a", b"b", b"c"]) == {
        b"a": Record(b"A", 1, None),
        b"b": Record(b"B", 2, None),
        b"c": Record(b"C", 2, None),
    }


def test_a_writer_that_is_always_late_gives_up_in_time(open_store: Open, engine: InterposedEngine) -> None:
    store, other = open_store(), open_store()
    store.put(b"k", b"")

    def disturb() -> None:
        before = engine.before.pop("txn")
        other.put(b"k", b"")
        engine.before["txn"] = before

    engine.before["txn"] = disturb
    with pytest.raises(DeadlineExceeded):
        store.put(b"k", b"mine", timeout=0.2)
    del engine.before["txn"]
    assert store.get(b"k").value == b""


def test_a_server_that_takes_less_than_usual_is_a_matter_of_configuration(
    store: EtcdStore, engine: InterposedEngine
) -> None:
    engine.fail("txn", InvalidRequest("request is too large"))
    with pytest.raises(ConfigurationError, match="request is too large; etcd's --max-request-bytes"):
        store.put(b"k", b"v")
