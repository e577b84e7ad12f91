"""What pensando's kvstore promises for any of its backends, on every engine.

The cases are those of its compliance suite, one test each, in its order; the name of the case is in the test's name and
docstring. Where a case there fixed what is better done otherwise, the docstring says what is different.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from django_etcdaero import schemes
from django_etcdaero.exceptions import (
    ConfigurationError,
    EncodeError,
    InvalidRequest,
    KeyExists,
    KeyNotFound,
    TxnFailed,
    VersionConflict,
)
from django_etcdaero.keyvalue import KV, Engine, ResyncReason
from django_etcdaero.keyvalue.objects import (
    Collection,
    Created,
    Deleted,
    Invalid,
    LeaseState,
    ObjectTxn,
    ObjectWatch,
    Resynced,
    Updated,
)
from django_etcdaero.keyvalue.queue.election import Election
from django_etcdaero.keyvalue.queue.leader import Changed, Elected, Lost
from django_etcdaero.stores.address import Plane
from tests.keyvalue.queue.contending import Contending
from tests.waiting import wait_until

Connect = Callable[[], KV]

TIMEOUT = 10.0


@dataclass(frozen=True)
class Book:
    title: str
    pages: int = 0
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Author:
    name: str


EMMA = Book("Emma", 474, {"shelf": "3"})


@pytest.fixture
def books(kv: KV) -> Collection[Book]:
    return kv.objects(Book, "venice")


def take(watch: ObjectWatch[Any], count: int) -> list[Any]:
    return [watch.next(timeout=TIMEOUT) for _ in range(count)]


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


# --- watches ---------------------------------------------------------------------------------------------------------


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


# --- elections -------------------------------------------------------------------------------------------------------


@pytest.fixture
def campaigning() -> Iterator[Callable[[KV, str, str], Election]]:
    """Start a candidate that campaigns, in a thread, and again whenever it has lost."""
    stops: list[threading.Event] = []
    threads: list[threading.Thread] = []

    def start(kv: KV, name: str, value: str) -> Election:
        election = kv.election(name, ttl=5, value=value)
        stop = threading.Event()
        thread = threading.Thread(
            target=lambda: election.run(lambda leadership: leadership.wait(60), stop=stop), daemon=True
        )
        thread.start()
        stops.append(stop)
        threads.append(thread)
        return election

    yield start
    for stop in stops:
        stop.set()
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def leads(*elections: Election) -> list[Election]:
    return [election for election in elections if election.is_leader]


def test_election(connect: Connect, campaigning: Callable[[KV, str, str], Election]) -> None:
    """Election: exactly one is elected, the others see him; when he ends exactly one other is. A newcomer unseats
    nobody. A time to live that is too short is refused (here: less than a second; the store grants at least two)."""
    clients = [connect() for _ in range(3)]
    with pytest.raises(InvalidRequest):
        clients[0].election("master", ttl=0)
    first = clients[0].election("master", ttl=5, value="id-0")
    first.campaign(timeout=TIMEOUT)
    others = [campaigning(client, "master", f"id-{number}") for number, client in enumerate(clients[1:], 1)]
    wait_until(lambda: len(first.queue()) == 3, what="all candidates in line")
    assert leads(first, *others) == [first]
    for election in (first, *others):
        leader = election.leader()
        assert leader is not None
        assert leader.value == b"id-0"
    with others[0].observe() as events:
        told = events.next(timeout=TIMEOUT)
        assert isinstance(told, Changed)
        assert told.leader is not None
        assert told.leader.value == b"id-0"
    first.resign()
    wait_until(lambda: leads(*others), what="the next leader")
    assert len(leads(first, *others)) == 1
    (second,) = leads(*others)
    newcomer = campaigning(connect(), "master", "id-3")
    wait_until(lambda: len(second.queue()) == 3, what="the newcomer in line")
    assert leads(first, *others, newcomer) == [second]


def test_election_restart_contender_that_is_orphaned_loses(kv: KV, connect: Connect) -> None:
    """ElectionRestartContender, second half: a leader whose lease is not renewed any more is told that it lost."""
    election = kv.election("master", ttl=5, value="id-0")
    election.campaign(timeout=TIMEOUT)
    leader = election.leader()
    assert leader is not None
    with election.observe() as events:
        assert isinstance(events.next(timeout=TIMEOUT), Elected)
        kv.engine.lease_revoke(leader.lease)
        assert isinstance(events.next(timeout=TIMEOUT), Lost)
    assert not election.is_leader


@pytest.mark.parametrize("engine", ["etcd", "sqlite"], indirect=True)
def test_election_restart_contender(engine: Engine, request: pytest.FixtureRequest) -> None:
    """ElectionRestartContender: a process that is started again under the same id leads on.

    Not in ``mem:``, which ends with its process. And not while its predecessor is alive: two processes under one id
    never lead both.
    """
    if engine.info.kind == "etcd":
        store = request.getfixturevalue("shared_server").endpoint
    else:
        store = engine.info.location.removeprefix("sqlite://")
    first = Contending(store, "election", "restart", ttl=30, value="id-0")
    token = first.won()
    kv = KV(engine)
    other = kv.election("restart", ttl=30, value="id-1")
    in_line = threading.Thread(target=other.campaign, kwargs={"timeout": 60}, daemon=True)
    in_line.start()
    wait_until(lambda: len(other.queue()) == 2, what="the other in line")
    first.process.kill()
    first.process.wait(TIMEOUT)
    with first.process:
        pass
    again = kv.election("restart", ttl=30, value="id-0")
    again.campaign(timeout=TIMEOUT)
    assert again.token == token
    assert not other.is_leader
    again.resign()
    in_line.join(TIMEOUT)
    assert other.is_leader
    other.resign()
    kv.close()


def test_cancel_election(connect: Connect, campaigning: Callable[[KV, str, str], Election]) -> None:
    """CancelElection: who gives up leaves nothing behind, and the next one leads at once."""
    first = connect().election("master", ttl=60, value="id-0")
    first.campaign(timeout=TIMEOUT)
    second = campaigning(connect(), "master", "id-1")
    wait_until(lambda: len(first.queue()) == 2, what="the second in line")
    first.resign()
    wait_until(lambda: second.is_leader, what="the hand-over")
    assert [each.value for each in (second.leader(),) if each is not None] == [b"id-1"]
    assert len(second.queue()) == 1


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


def test_multiple_election(connect: Connect) -> None:
    """MultipleElection: elections do not touch each other, not even when one's name begins with the other's."""
    elections = [connect().election(name, ttl=5, value=name) for name in ("master", "master2", "master/sub")]
    for election in elections:
        election.campaign(timeout=TIMEOUT)
    assert leads(*elections) == elections
    elections[0].resign()
    assert leads(*elections) == elections[1:]
    for election in elections[1:]:
        leader = election.leader()
        assert leader is not None
        assert leader.value == election.name
        election.resign()


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
    here it goes on with what there is.)"""
    created = books.create("1", EMMA)
    last = books.update("1", replace(EMMA, pages=475))
    last = books.update("1", replace(EMMA, pages=476), version=last.version)
    kv.compact(last.version)
    with books.watch(since=created.version) as watch:
        (event,) = take(watch, 1)
        assert isinstance(event, Resynced)
        assert (event.reason, event.items) == (ResyncReason.COMPACTED, (last,))
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
