"""No recipe sends a transaction that only reads: an etcd before 3.5.5 does not survive the cancellation of one.

What belongs together is read with plain ranges, the second one at the revision of the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from django_etcdaero.exceptions import Compacted, FutureRevision, LockTimeout, TxnFailed
from django_etcdaero.keyvalue import KV, Engine, Isolation, Lock
from django_etcdaero.keyvalue.objects import Updated
from django_etcdaero.keyvalue.queue.holder import Changed
from django_etcdaero.keyvalue.values import Operation, RangeRequest, TxnRequest, TxnResult
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.queue.queueing import Queued, keys
from tests.waiting import wait_until


def only_reads(operation: Operation) -> bool:
    if isinstance(operation, TxnRequest):
        return all(map(only_reads, operation.success + operation.failure))
    return isinstance(operation, RangeRequest)


class RecordingEngine(InterposedEngine):
    """Remembers all transactions that only read."""

    def __init__(self, inner: Engine) -> None:
        super().__init__(inner)
        self.read_only: list[TxnRequest] = []

    def txn(self, request: TxnRequest, *, timeout: float | None = None) -> TxnResult:
        if only_reads(request):
            self.read_only.append(request)
        return super().txn(request, timeout=timeout)


@dataclass
class Cat:
    name: str


@pytest.fixture
def store(engine: Engine) -> Iterator[RecordingEngine]:
    recording = RecordingEngine(engine)
    yield recording
    assert recording.read_only == []


@pytest.fixture
def other(engine: Engine, at: Callable[[str], bytes]) -> Iterator[KV]:
    client = KV(engine, prefix=at("app/"))
    yield client
    client.close()


def contend(lock: Lock) -> Queued:
    return Queued(lock, lock.acquire, "acquired")


def test_the_recording_engine_knows_what_only_reads(engine: Engine, at: Callable[[str], bytes]) -> None:
    recording = RecordingEngine(engine)
    recording.txn(TxnRequest(success=(RangeRequest(at("a")),)))
    assert len(recording.read_only) == 1


def test_locks(kv: KV) -> None:
    first, second, third = kv.lock("L"), kv.lock("L"), kv.lock("L")
    first.acquire()
    waiters = [contend(second), contend(third)]
    assert first.holder() is not None
    waiting = first.queue()[2]
    assert not kv.lock("L").try_acquire()
    with pytest.raises(LockTimeout):
        kv.lock("L").acquire(0.05)
    assert first.remove_waiter(waiting.token) is not None
    waiters[1].wait()
    assert first.force_release(token=first.token) is not None
    assert waiters[0].wait() == "acquired"
    second.release()


def test_awaited_locks_that_are_cancelled_or_time_out(kv: KV, store: RecordingEngine) -> None:
    async def main() -> None:
        async with kv.lock("L"):
            with pytest.raises(LockTimeout):
                await kv.lock("L").aacquire(0.05)
            watches = len(store.running)
            task = asyncio.create_task(kv.lock("L").aacquire())
            while len(store.running) < watches + 2:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_a_lock_whose_predecessor_is_no_contender(kv: KV) -> None:
    first = kv.lock("L")
    first.acquire()
    for number in range(3):
        kv.put(f"L/data/{number}", "x")
    waiter = contend(kv.lock("L"))
    first.release()
    assert waiter.wait() == "acquired"


def test_a_place_that_is_lost(kv: KV, other: KV, store: RecordingEngine) -> None:
    first = kv.lock("L")
    first.acquire()
    waiter = contend(kv.lock("L"))
    wait_until(lambda: len(store.running) == 3, what="the holder's watch and the waiter's")
    other.delete_range("L/", prefix=True)
    assert "is lost" in str(waiter.wait())
    wait_until(lambda: first.lost, what="the news of the holder's loss")


def test_elections_and_observations(kv: KV, other: KV) -> None:
    election, rival = kv.election("E", value="a"), other.election("E", value="b")
    with kv.election("E").observe() as events:
        assert events.next(timeout=10) == Changed(None)
        election.campaign()
        assert events.next(timeout=10) == Changed(election.leader())
        next_one = Queued(rival, rival.campaign, "leads")
        assert kv.election("E").queue()[0].token == election.token
        assert kv.election("E").holder() is not None
        election.proclaim("c")
        election.resign()
        assert next_one.wait() == "leads"
    rival.resign()


def test_temporary_keys(kv: KV, other: KV, store: RecordingEngine) -> None:
    with kv.temporary_key("t") as key:
        assert key.update("2")
        wait_until(lambda: store.running, what="the watch")
        other.delete("t")
        wait_until(lambda: other.get("t"), what="the return of the key")
        other.put("t", "theirs")
        wait_until(lambda: not key.alive, what="the news")


@pytest.mark.parametrize(
    "isolation", [Isolation.SERIALIZABLE_SNAPSHOT, Isolation.SERIALIZABLE, Isolation.READ_COMMITTED]
)
def test_functions_that_only_read(kv: KV, isolation: Isolation) -> None:
    kv.put("a", "1")
    assert kv.stm(lambda tx: (tx.get("a"), tx.get("b"), tx.range("a", prefix=True)), isolation=isolation)[0] == b"1"


def test_one_key_that_is_read_at_repeatable_read(kv: KV) -> None:
    kv.put("a", "1")
    assert kv.stm(lambda tx: tx.get("a"), isolation=Isolation.REPEATABLE_READ) == b"1"


def test_one_key_at_a_time_and_many(kv: KV) -> None:
    assert kv.increment("n") == 1
    assert kv.test_and_set("a", None, "1")
    assert not kv.test_and_set("a", "2", "3")
    assert [found.key for found in kv.iterate("", prefix=True, page_size=1)] == [b"a", b"n"]
    assert kv.first("", prefix=True) is not None
    assert kv.last("", prefix=True) is not None


def test_objects(kv: KV) -> None:
    cats = kv.objects(Cat, "cats/")
    cats.create("tom", Cat("Tom"))
    cats.update("tom", Cat("Thomas"))
    assert cats.exists("tom")
    assert cats.find("nobody") is None
    with cats.watch() as events:
        assert isinstance(events.next(timeout=10), Updated)
    assert len(cats.list(order_by="-name", limit=1)) == 1
    cats.consistent_update("tom", lambda cat: Cat(cat.name.upper()))
    kv.object_txn().create(cats, "ada", Cat("Ada")).commit()
    with pytest.raises(TxnFailed):
        kv.object_txn().create(cats, "ada", Cat("Ada")).compare(cats.version_of("tom") == 1).commit()
    with cats.leased("kit", Cat("Kit")):
        assert cats.get("kit").object == Cat("Kit")
    assert cats.discard("ada")
    assert cats.delete_all() == 1


# --- two ranges that belong together ---------------------------------------------------------------------------------


def test_the_second_range_is_of_the_revision_of_the_first(kv: KV, other: KV, store: RecordingEngine) -> None:
    election = kv.election("E", value="a")
    election.campaign()
    store.calls.clear()

    def resign_between() -> None:
        if store.calls["range"] == 2:
            other.delete_range("E:contenders/", prefix=True)

    store.before["range"] = resign_between
    (leader,) = kv.election("E").queue()
    assert leader.pid is not None
    del store.before["range"]
    election.resign()


@pytest.mark.parametrize("error", [Compacted("gone", 1), FutureRevision("behind")])
def test_both_are_read_again_if_the_revision_cannot_be_read(
    kv: KV, other: KV, store: RecordingEngine, error: Exception
) -> None:
    election = kv.election("E", value="a")
    election.campaign()

    def refuse_the_second() -> None:
        if store.calls["range"] % 2 == 0 and refused:
            raise refused.pop()

    refused: list[Exception] = [error, error]
    store.calls.clear()
    store.before["range"] = refuse_the_second
    assert [holder.token for holder in kv.election("E").queue()] == [election.token]
    assert store.calls["range"] == 6
    refused[:] = [error] * 3
    with pytest.raises(type(error)):
        kv.election("E").queue()
    del store.before["range"]
    election.resign()
    assert keys(kv) == []
