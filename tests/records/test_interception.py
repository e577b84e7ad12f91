"""What stands before a record store sees each call once, and goes away again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from django_etcdaero.exceptions import RecordTooBig
from django_etcdaero.records.interception import CALLS, interpose
from django_etcdaero.records.memory.store import MemoryStore
from django_etcdaero.records.store import RecordStore


class Notes:
    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.errors: list[type[BaseException]] = []

    @contextmanager
    def __call__(self, call: str, argument: Any) -> Iterator[None]:
        self.calls.append((call, argument))
        try:
            yield
        except Exception as error:
            self.errors.append(type(error))
            raise


@pytest.fixture
def store() -> Iterator[RecordStore]:
    made = MemoryStore("interception")
    yield made
    made.close()


def test_each_call_is_seen_once_with_what_it_is_about(store: RecordStore) -> None:
    notes = Notes()
    end = interpose(store, notes)
    store.put(b"a", b"1")
    store.put_many({b"b": 1})
    assert store.get(b"a") is not None
    assert set(store.get_many([b"a", b"b"])) == {b"a", b"b"}
    assert store.exists(b"a") is not None
    assert store.increment(key=b"b", delta=1) == 2
    assert store.touch_many({b"a": None}, 10) == {b"a"}
    assert store.delete(b"a")
    assert [call for call, _ in notes.calls] == [
        *("put", "put_many", "get", "get_many", "exists", "increment", "touch_many", "delete")
    ]
    assert dict(notes.calls)["increment"] == b"b"
    end()
    store.truncate()
    assert len(notes.calls) == 8


def test_errors_leave_through_it(store: RecordStore) -> None:
    notes = Notes()
    interpose(store, notes)
    with pytest.raises(RecordTooBig):
        store.put(b"a", b"x" * (store.max_value_bytes + 1))
    assert notes.errors == [RecordTooBig]


def test_the_calls_are_those_of_the_waist_but_for_looking_around() -> None:
    life = {"close", "before_fork", "after_fork_in_parent", "abandon"}
    public = {name for name, value in vars(RecordStore).items() if callable(value) and not name.startswith("_")}
    assert set(CALLS) == public - life - {"scan", "fill", "peek"}
