"""What kvstore promises of watches."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from django_etcdaero.exceptions import EncodeError, InvalidRequest
from django_etcdaero.keyvalue.objects import Collection, Created, Deleted, Updated
from tests.seeds.books import EMMA, TIMEOUT, Book, take


def test_watch(books: Collection[Book]) -> None:
    """Watch: Created, Updated, Deleted in order, with equal objects. Only objects of the class can be stored."""
    with books.watch("testkey") as watch:
        created = books.create("testkey", EMMA)
        updated = books.update("testkey", replace(EMMA, pages=475))
        books.delete("testkey")
        events = take(watch, 3)
    assert events[:2] == [Created(created), Updated(updated, created)]
    assert (type(events[2]), events[2].previous) == (Deleted, updated)
    assert events[2].revision > updated.version
    with pytest.raises(EncodeError):
        books.create("testkey", "no object")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest):
        books.watch("testkey/")


def test_prefix_watch(books: Collection[Book]) -> None:
    """PrefixWatch: the same for everything under a prefix, and nothing of beside it."""
    with books.watch(under="abc") as watch:
        books.create("abcd/1", EMMA)
        created = books.create("abc/1", EMMA)
        updated = books.update("abc/1", replace(EMMA, pages=475))
        books.delete("abcd/1")
        books.delete("abc/1")
        events = take(watch, 3)
    assert events[:2] == [Created(created), Updated(updated, created)]
    assert (type(events[2]), events[2].name, events[2].previous) == (Deleted, "abc/1", updated)


def test_watch_existing(books: Collection[Book]) -> None:
    """WatchExisting: what is there comes first, as Created, or as Updated if it was changed since."""
    created = books.create("1", EMMA)
    books.create("2", EMMA)
    updated = books.update("2", replace(EMMA, pages=475))
    with books.watch() as watch:
        assert take(watch, 2) == [Created(created), Updated(updated)]


def test_watch_from_version(books: Collection[Book]) -> None:
    """WatchFromVersion: only what is newer than the version."""
    created = books.create("testkey", EMMA)
    first = books.update("testkey", replace(EMMA, pages=1))
    second = books.update("testkey", replace(EMMA, pages=2))
    with books.watch("testkey", since=created.version) as watch:
        assert take(watch, 2) == [Updated(first, created), Updated(second, first)]
    with books.watch("testkey", since=second.version) as watch:
        third = books.update("testkey", EMMA)
        assert take(watch, 1) == [Updated(third, second)]


def test_buffered_watch(books: Collection[Book]) -> None:
    """BufferedWatch: thirty events that nobody consumed yet arrive in order."""
    with books.watch(since=None) as watch:
        stored = [books.put("testkey", replace(EMMA, pages=number)) for number in range(30)]
        events = take(watch, 30)
    assert [event.stored for event in events] == stored


def test_cancel_watch(books: Collection[Book]) -> None:
    """CancelWatch: it ends, and tells nothing more."""
    watch = books.watch()
    consumed: list[object] = []
    consumer = threading.Thread(target=lambda: consumed.extend(watch), daemon=True)
    consumer.start()
    watch.cancel()
    books.create("testkey", EMMA)
    consumer.join(TIMEOUT)
    assert not consumer.is_alive()
    assert consumed == []
