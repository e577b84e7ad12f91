"""What pensando's kvstore promises for any of its backends, on every engine.

The cases are those of its compliance suite, one test each, in its order; the name of the case is in the test's name and
docstring. Where a case there fixed what is better done otherwise, the docstring says what is different.
Those of watches and of elections are in files of their own.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import pytest

from django_etcdaero import schemes
from django_etcdaero.exceptions import (
    ConfigurationError,
    EventsLost,
    InvalidRequest,
    KeyExists,
    KeyNotFound,
    TxnFailed,
    VersionConflict,
)
from django_etcdaero.keyvalue import KV, ResyncReason
from django_etcdaero.keyvalue.objects import (
    Collection,
    Created,
    Deleted,
    Invalid,
    LeaseState,
    ObjectTxn,
)
from django_etcdaero.stores.address import Plane
from tests.seeds.books import EMMA, Book, take
from tests.waiting import wait_until


@dataclass(frozen=True)
class Author:
    name: str


# --- objects ---------------------------------------------------------------------------------------------------------


def test_create(books: Collection[Book]) -> None:
    """Create: the object gets a version that is not zero."""
    created = books.create("testkey", EMMA)
    assert created.version > 0
    assert books.get("testkey") == created


def test_duplicate_create(books: Collection[Book]) -> None:
    """DuplicateCreate: the second one fails with KeyExists."""
    created = books.create("testkey", EMMA)
    with pytest.raises(KeyExists):
        books.create("testkey", Book("Persuasion"))
    assert books.get("testkey") == created


def test_delete(books: Collection[Book]) -> None:
    """Delete: the object comes back with its last version, and is gone."""
    created = books.create("testkey", EMMA)
    assert books.delete("testkey") == created
    with pytest.raises(KeyNotFound):
        books.get("testkey")


def test_non_existent_delete(books: Collection[Book]) -> None:
    """NonExistentDelete: KeyNotFound."""
    with pytest.raises(KeyNotFound):
        books.delete("testkey")


def test_atomic_delete(books: Collection[Book]) -> None:
    """AtomicDelete: another version fails, here with VersionConflict; the right one succeeds."""
    created = books.create("testkey", EMMA)
    with pytest.raises(VersionConflict):
        books.delete("testkey", version=created.version + 1)
    assert books.delete("testkey", version=created.version) == created
    with pytest.raises(KeyNotFound):
        books.delete("testkey", version=created.version)


def test_prefix_delete(books: Collection[Book]) -> None:
    """PrefixDelete: /abc takes /abc/… along and neither /abcd nor /abcd/…."""
    for name in ("abc/1", "abc/2/3", "abcd", "abcd/1"):
        books.create(name, EMMA)
    assert books.delete_under("abc") == 2
    assert [book.name for book in books.list()] == ["abcd", "abcd/1"]
    assert books.delete_under("abc") == 0


def test_update(books: Collection[Book]) -> None:
    """Update: fails before the object exists; then the version changes."""
    with pytest.raises(KeyNotFound):
        books.update("testkey", EMMA)
    created = books.create("testkey", EMMA)
    updated = books.update("testkey", replace(EMMA, pages=475))
    assert updated.version > created.version
    assert books.get("testkey") == updated


def test_non_existent_update(books: Collection[Book]) -> None:
    """NonExistentUpdate: KeyNotFound, and nothing is created."""
    with pytest.raises(KeyNotFound):
        books.update("testkey", EMMA)
    assert books.find("testkey") is None


def test_atomic_update(books: Collection[Book]) -> None:
    """AtomicUpdate: another version fails with VersionConflict, the right one succeeds."""
    created = books.create("testkey", EMMA)
    with pytest.raises(VersionConflict):
        books.update("testkey", Book("Persuasion"), version=created.version + 1)
    updated = books.update("testkey", Book("Persuasion"), version=created.version)
    assert books.get("testkey") == updated
    with pytest.raises(VersionConflict):
        books.update("testkey", EMMA, version=created.version)


def test_consistent_update(books: Collection[Book]) -> None:
    """ConsistentUpdate: ten increments at the same time make ten. A missing object and a function without a result
    fail."""
    books.create("testkey", Book("Emma"))
    with pytest.raises(KeyNotFound):
        books.consistent_update("other", lambda book: book)
    with pytest.raises(InvalidRequest):
        books.consistent_update("testkey", lambda book: None)  # type: ignore[arg-type,return-value]
    threads = [
        threading.Thread(
            target=books.consistent_update,
            args=("testkey", lambda book: replace(book, pages=book.pages + 1)),
            daemon=True,
        )
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert books.get("testkey").object.pages == 10


def test_list(kv: KV, books: Collection[Book]) -> None:
    """List: each object once, nothing of beside the prefix, and an empty list is no error. Versions are set."""
    assert len(books.list()) == 0
    stored = [books.create(f"vabc/{number}", replace(EMMA, pages=number)) for number in range(10)]
    books.create("nbvabc", EMMA)
    books.create("vabcd/1", EMMA)
    listing = books.list(under="vabc")
    assert list(listing) == stored
    assert listing.revision >= stored[-1].version
    assert len(books.list(under="nothing")) == 0


# --- several objects -------------------------------------------------------------------------------------------------


def test_txn(kv: KV, books: Collection[Book]) -> None:
    """Txn: several creations, updates by version, deletion with update, the deleted object, touch; all or nothing.

    An update of what does not exist fails, and what failed is named.
    """
    staged = kv.object_txn()
    assert staged.is_empty
    result = staged.create(books, "1", EMMA).create(books, "2", EMMA).commit()
    assert staged.is_empty
    assert [book.version for book in books.list()] == [result.revision] * 2

    with pytest.raises(TxnFailed) as caught:
        ObjectTxn(kv).create(books, "2", EMMA).create(books, "3", EMMA).commit()
    assert [type(error) for error in caught.value.errors] == [KeyExists]
    assert not books.exists("3")

    changed = ObjectTxn(kv).update(books, "1", replace(EMMA, pages=1), version=result.revision).commit()
    assert books.get("1").version == changed.revision
    with pytest.raises(TxnFailed) as caught:
        ObjectTxn(kv).update(books, "1", EMMA, version=result.revision).delete(books, "2").commit()
    assert [type(error) for error in caught.value.errors] == [VersionConflict]
    with pytest.raises(TxnFailed) as caught:
        ObjectTxn(kv).update(books, "9", EMMA).commit()
    assert [type(error) for error in caught.value.errors] == [KeyNotFound]

    second = books.get("2")
    both = ObjectTxn(kv).delete(books, "2").update(books, "1", EMMA).commit()
    assert both.deleted == (second,)
    assert not books.exists("2")

    before = books.get("1")
    touched = ObjectTxn(kv).touch(books, "1").commit()
    after = books.get("1")
    assert (after.object, after.version) == (before.object, touched.revision)
    with pytest.raises(TxnFailed):
        ObjectTxn(kv).touch(books, "2").commit()

    ObjectTxn(kv).touch(books, "1").compare(books.version_of("1") == after.version, books.holds("1", EMMA)).commit()
    with pytest.raises(TxnFailed):
        ObjectTxn(kv).touch(books, "1").compare(books.version_of("1") == after.version).commit()


def test_lease(books: Collection[Book]) -> None:
    """Lease: three leased objects are seen Created, and Deleted when they are cancelled. (There a cancelled lease
    lived on for its time in etcd; here the object is gone at once.)"""
    with books.watch() as watch:
        leased = [books.leased(name, EMMA, ttl=60) for name in ("1", "2", "3")]
        assert [type(event) for event in take(watch, 3)] == [Created] * 3
        for each in leased:
            each.cancel()
            assert each.state is LeaseState.CANCELLED
        events = take(watch, 3)
    assert [(type(event), event.name) for event in events] == [(Deleted, name) for name in ("1", "2", "3")]


class Temperature:
    """It has its own way to be written."""

    def __init__(self, celsius: float) -> None:
        self.celsius = celsius

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Temperature) and self.celsius == other.celsius

    __hash__ = None  # type: ignore[assignment]

    def to_json(self) -> Any:
        return {"degrees": f"{self.celsius} C"}

    @classmethod
    def from_json(cls, data: Any) -> Temperature:
        return cls(float(data["degrees"].removesuffix(" C")))


def test_custom_marshal_unmarshal(kv: KV) -> None:
    """CustomMarshalUnmarshal: what a class has of its own for being written and read is used."""
    temperatures = kv.objects(Temperature, "temperatures")
    with temperatures.watch() as watch:
        created = temperatures.create("1", Temperature(36.5))
        assert take(watch, 1) == [Created(created)]
    found = kv.get("temperatures/1")
    assert found is not None
    assert found.value == b'{"degrees":"36.5 C"}'
    assert temperatures.get("1").object == Temperature(36.5)


# --- beside the list -------------------------------------------------------------------------------------------------


def test_create_with_ttl(books: Collection[Book]) -> None:
    """CreateWithTTL: the object is gone when its time is over."""
    books.create("testkey", EMMA, ttl=2)
    assert books.exists("testkey")
    wait_until(lambda: books.find("testkey") is None, what="the end of the object")


def test_watch_version(kv: KV, books: Collection[Book]) -> None:
    """TestWatchVersion: a version that was compacted away. (There the watch ended with 410 and had to be made anew;
    here the error has what there is, and the watch goes on after that.)"""
    created = books.create("1", EMMA)
    last = books.update("1", replace(EMMA, pages=475))
    last = books.update("1", replace(EMMA, pages=476), version=last.version)
    kv.compact(last.version)
    with books.watch(since=created.version) as watch:
        with pytest.raises(EventsLost) as caught:
            take(watch, 1)
        assert (caught.value.reason, caught.value.snapshot) == (ResyncReason.COMPACTED, (last,))
        later = books.create("2", EMMA)
        assert take(watch, 1) == [Created(later)]


@pytest.mark.parametrize("url", ["", "memkv:", "etcd://", "sqlite://"])
def test_invalid_etcd_store(url: str) -> None:
    """InvalidEtcdStore: an unknown store, or one without a server, is an error that says so."""
    with pytest.raises(ConfigurationError):
        schemes.parse(url, plane=Plane.KV)


def test_kinds(kv: KV) -> None:
    """The scheme: kinds are found whatever their case, an unknown one is an error that names it, and neither ends a
    watch."""
    library = kv.objects((Book, Author), "library")
    kv.put("library/1", '{"kind":"AUTHOR","name":"Jane"}')
    assert library.get("1").object == Author("Jane")
    with library.watch() as watch:
        kv.put("library/2", '{"kind":"Map"}')
        library.create("3", EMMA)
        events = take(watch, 3)
    assert [type(event) for event in events] == [Created, Invalid, Created]
    assert "unknown kind 'Map'; known are Book, Author" in str(events[1].error)
