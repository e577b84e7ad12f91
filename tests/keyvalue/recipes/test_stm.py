from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from django_etcdaero.exceptions import (
    Compacted,
    DeadlineExceeded,
    FutureRevision,
    InvalidRequest,
    OutcomeUnknown,
    TxnFailed,
    VersionConflict,
)
from django_etcdaero.keyvalue import KV, Isolation, txn
from django_etcdaero.keyvalue.recipes.stm import AsyncTransaction, Transaction
from tests.keyvalue.interposed import InterposedEngine

ALL = list(Isolation)
SNAPSHOTS = [Isolation.SERIALIZABLE_SNAPSHOT, Isolation.SERIALIZABLE]
VALIDATED = [*SNAPSHOTS, Isolation.REPEATABLE_READ]


def value(kv: KV, key: str) -> bytes | None:
    found = kv.get(key)
    return None if found is None else found.value


def number(tx: Transaction, key: str) -> int:
    return int(tx.get(key) or 0)


class Once:
    """Calls what it is given at the first attempt of a transaction only, and counts the attempts."""

    def __init__(self) -> None:
        self.attempts = 0

    def begin(self) -> None:
        self.attempts += 1

    def __call__(self, interfere: Callable[[], object]) -> None:
        if self.attempts == 1:
            interfere()


@pytest.fixture
def once() -> Once:
    return Once()


# --- what a function sees --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", ALL)
def test_what_is_read_and_written(kv: KV, isolation: Isolation) -> None:
    kv.put("a", "1")
    kv.put("gone", "x")
    created = kv.put("b", "2").revision

    def function(tx: Transaction) -> str:
        assert (tx.get("a"), tx.get("none"), tx.get(b"b")) == (b"1", None, b"2")
        assert (tx.revision("b"), tx.revision("none")) == (created, 0)
        tx.put("a", "9")
        tx.put("new", b"\xff")
        tx.put("twice", "1")
        tx.put("twice", "2")
        tx.delete("gone")
        tx.put("fleeting", "x")
        tx.delete("fleeting")
        assert (tx.get("a"), tx.get("new"), tx.get("twice")) == (b"9", b"\xff", b"2")
        assert (tx.get("gone"), tx.get("fleeting")) == (None, None)
        assert tx.revision("b") == created
        return "answer"

    before = kv.range("x").revision
    assert kv.stm(function, isolation=isolation) == "answer"
    assert [(found.key, found.value, found.mod_revision) for found in kv.iterate("", prefix=True)] == [
        (b"a", b"9", before + 1),
        (b"b", b"2", created),
        (b"new", b"\xff", before + 1),
        (b"twice", b"2", before + 1),
    ]


@pytest.mark.parametrize("isolation", ALL)
def test_a_range_shows_own_writes_in_order(kv: KV, isolation: Isolation) -> None:
    for name in ("r/b", "r/d", "r/f", "s"):
        kv.put(name, name)

    def function(tx: Transaction) -> None:
        assert tx.range("r/", prefix=True) == {b"r/b": b"r/b", b"r/d": b"r/d", b"r/f": b"r/f"}
        tx.put("r/a", "new")
        tx.put("r/d", "changed")
        tx.put("s", "outside")
        tx.delete("r/f")
        assert list(tx.range("r/", prefix=True).items()) == [
            (b"r/a", b"new"),
            (b"r/b", b"r/b"),
            (b"r/d", b"changed"),
        ]
        assert tx.range("r/b", "r/e") == {b"r/b": b"r/b", b"r/d": b"changed"}
        assert tx.range("r/f", "\0") == {b"s": b"outside"}
        assert tx.get("r/b") == b"r/b"
        assert tx.range("none/", prefix=True) == {}

    kv.stm(function, isolation=isolation)
    assert [found.key for found in kv.iterate("", prefix=True)] == [b"r/a", b"r/b", b"r/d", b"s"]


def test_a_put_may_name_a_lease(kv: KV) -> None:
    lease = kv.lease(60)
    kv.stm(lambda tx: tx.put("k", "v", lease=lease))
    found = kv.get("k")
    assert found is not None
    assert found.lease == lease.id
    kv.stm(lambda tx: tx.put("k", "v"))
    found = kv.get("k")
    assert found is not None
    assert found.lease == 0
    lease.revoke()


@pytest.mark.parametrize("isolation", ALL)
def test_an_error_of_the_function_ends_it_without_a_trace(kv: KV, isolation: Isolation) -> None:
    def function(tx: Transaction) -> None:
        tx.get("a")
        tx.put("a", "1")
        raise ZeroDivisionError

    before = kv.range("x").revision
    with pytest.raises(ZeroDivisionError):
        kv.stm(function, isolation=isolation)
    assert kv.range("x").revision == before


def test_an_attempt_that_is_over_cannot_be_used(kv: KV) -> None:
    kept: list[Transaction] = []
    kv.stm(kept.append)
    for use in (lambda tx: tx.get("a"), lambda tx: tx.put("a", ""), lambda tx: tx.delete("a")):
        with pytest.raises(InvalidRequest, match="over"):
            use(kept[0])


# --- what it costs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", SNAPSHOTS)
def test_reading_only_commits_nothing(kv: KV, store: InterposedEngine, isolation: Isolation) -> None:
    store.calls.clear()
    kv.stm(lambda tx: (tx.get("a"), tx.get("b"), tx.range("c", prefix=True)), isolation=isolation)
    assert (store.calls["range"], store.calls["txn"]) == (3, 0)


@pytest.mark.parametrize("isolation", ALL)
def test_a_key_is_read_once(kv: KV, store: InterposedEngine, isolation: Isolation) -> None:
    store.calls.clear()

    def function(tx: Transaction) -> None:
        tx.range("r/", prefix=True)
        for _ in range(3):
            tx.get("a")
            tx.revision("a")
            tx.get("r/1")
            tx.range("r/", prefix=True)
        tx.put("a", "1")

    kv.stm(function, isolation=isolation)
    assert (store.calls["range"], store.calls["txn"]) == (2, 1)


@pytest.mark.parametrize("isolation", VALIDATED)
def test_a_conflict_costs_one_more_call(
    kv: KV, store: InterposedEngine, once: Once, isolation: Isolation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.0)
    store.calls.clear()

    def function(tx: Transaction) -> None:
        once.begin()
        count = number(tx, "a") + number(tx, "b") + len(tx.range("r/", prefix=True))
        once(lambda: (kv.put("b", "5"), kv.put("r/1", "")))
        tx.put("a", str(count))

    kv.stm(function, isolation=isolation)
    assert (once.attempts, store.calls["range"], store.calls["txn"]) == (2, 3, 2)
    assert value(kv, "a") == b"6"


def test_a_key_read_and_written_is_one_condition(kv: KV) -> None:
    def function(tx: Transaction) -> None:
        for key in range(128):
            tx.put(f"k/{key:03}", str(number(tx, f"k/{key:03}") + 1))

    kv.stm(function)
    kv.stm(function)
    assert {found.value for found in kv.iterate("k/", prefix=True)} == {b"2"}

    def too_much(tx: Transaction) -> None:
        function(tx)
        tx.put("one more", "")

    with pytest.raises(InvalidRequest, match="too many operations"):
        kv.stm(too_much)
    assert value(kv, "one more") is None


# --- conflicts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", ALL)
@pytest.mark.parametrize("change", ["put", "delete", "create"])
def test_a_change_of_what_was_read(kv: KV, once: Once, isolation: Isolation, change: str) -> None:
    kv.put("a", "1")

    def function(tx: Transaction) -> bytes | None:
        once.begin()
        seen = tx.get("new" if change == "create" else "a")
        once(lambda: kv.delete("a") if change == "delete" else kv.put("new" if change == "create" else "a", "2"))
        tx.put("result", repr(seen))
        return seen

    last = {"put": b"2", "delete": None, "create": b"2"}[change]
    first = None if change == "create" else b"1"
    seen = kv.stm(function, isolation=isolation)
    if isolation is Isolation.READ_COMMITTED:
        assert (once.attempts, seen) == (1, first)
    else:
        assert (once.attempts, seen) == (2, last)
    assert value(kv, "result") == repr(seen).encode()


RANGE_CHANGES: dict[str, Callable[[KV], object]] = {
    "a key comes": lambda kv: kv.put("r/b", ""),
    "a key goes": lambda kv: kv.delete("r/c"),
    "the last key goes": lambda kv: kv.delete("r/e"),
    "a key changes": lambda kv: kv.put("r/c", "new"),
    "all keys go": lambda kv: kv.delete_range("r/", prefix=True),
    "a key goes and comes back": lambda kv: (kv.delete("r/c"), kv.put("r/c", "1")),
    "one goes, another comes": lambda kv: (kv.delete("r/c"), kv.put("r/d", "1")),
}

NO_RANGE_CHANGES: dict[str, Callable[[KV], object]] = {
    "a key next to it changes": lambda kv: (kv.put("r", ""), kv.put("r0", ""), kv.put("q", "")),
    "a key comes and goes again": lambda kv: (kv.put("r/x", ""), kv.delete("r/x")),
    "a key that is not there is deleted": lambda kv: kv.delete("r/x"),
}


@pytest.mark.parametrize("isolation", VALIDATED)
@pytest.mark.parametrize("change", [*RANGE_CHANGES, *NO_RANGE_CHANGES])
def test_a_range_that_was_read_stays_as_it_was_until_the_commit(
    kv: KV, once: Once, isolation: Isolation, change: str
) -> None:
    kv.put("r/c", "1")
    kv.put("r/e", "1")

    def function(tx: Transaction) -> list[bytes]:
        once.begin()
        found = sorted(tx.range("r/", prefix=True))
        once(lambda: (RANGE_CHANGES | NO_RANGE_CHANGES)[change](kv))
        tx.put("result", b",".join(found))
        return found

    found = kv.stm(function, isolation=isolation)
    assert once.attempts == (2 if change in RANGE_CHANGES else 1)
    assert found == [each.key for each in kv.iterate("r/", prefix=True)]
    assert value(kv, "result") == b",".join(found)


@pytest.mark.parametrize("isolation", VALIDATED)
def test_an_empty_range_stays_empty_until_the_commit(kv: KV, once: Once, isolation: Isolation) -> None:
    def function(tx: Transaction) -> None:
        once.begin()
        found = tx.range("r/", prefix=True)
        once(lambda: kv.put("r/x", ""))
        tx.put("result", str(len(found)))

    kv.stm(function, isolation=isolation)
    assert (once.attempts, value(kv, "result")) == (2, b"1")


@pytest.mark.parametrize("isolation", ALL)
def test_what_is_written_unread_conflicts_with_a_snapshot_only(kv: KV, once: Once, isolation: Isolation) -> None:
    def function(tx: Transaction) -> None:
        once.begin()
        tx.get("a")
        once(lambda: kv.put("b", "theirs"))
        tx.put("b", "ours")

    kv.stm(function, isolation=isolation)
    assert once.attempts == (2 if isolation is Isolation.SERIALIZABLE_SNAPSHOT else 1)
    assert value(kv, "b") == b"ours"


@pytest.mark.parametrize("isolation", ALL)
def test_a_transaction_that_reads_nothing_has_no_conflict(kv: KV, once: Once, isolation: Isolation) -> None:
    def function(tx: Transaction) -> None:
        once.begin()
        tx.put("a", "ours")
        once(lambda: kv.put("a", "theirs"))

    kv.stm(function, isolation=isolation)
    assert (once.attempts, value(kv, "a")) == (1, b"ours")


@pytest.mark.parametrize("isolation", ALL)
def test_what_a_reader_sees_when_others_write_between_its_reads(kv: KV, once: Once, isolation: Isolation) -> None:
    kv.put("a", "1")
    kv.put("b", "1")

    def function(tx: Transaction) -> tuple[int, int, int]:
        once.begin()
        first = number(tx, "a")
        once(lambda: kv.txn().then(txn.put("a", "2"), txn.put("b", "2")).commit())
        return first, number(tx, "b"), number(tx, "a")

    assert (
        kv.stm(function, isolation=isolation)
        == {
            Isolation.SERIALIZABLE_SNAPSHOT: (1, 1, 1),
            Isolation.SERIALIZABLE: (1, 1, 1),
            Isolation.REPEATABLE_READ: (2, 2, 2),  # seen at the second attempt: (1, 2, 1) belongs to no moment
            Isolation.READ_COMMITTED: (1, 2, 1),
        }[isolation]
    )


@pytest.mark.parametrize("change", ["put", "delete", "create"])
def test_a_repeatable_read_that_would_contradict_itself_is_not_shown(kv: KV, once: Once, change: str) -> None:
    kv.put("r/a", "1")
    seen: list[bool] = []
    changes = {
        "put": lambda: kv.put("r/a", "2"),
        "delete": lambda: kv.delete("r/a"),
        "create": lambda: kv.put("r/b", "2"),
    }

    def function(tx: Transaction) -> None:
        once.begin()
        one, other = tx.get("r/a"), tx.get("r/b")
        once(changes[change])
        found = tx.range("r/", prefix=True)
        seen.append((one, other) == (found.get(b"r/a"), found.get(b"r/b")))

    kv.stm(function, isolation=Isolation.REPEATABLE_READ)
    assert (once.attempts, seen) == (2, [True])


@pytest.mark.parametrize("isolation", ALL)
def test_write_skew(kv: KV, once: Once, isolation: Isolation) -> None:
    """Two doctors are on call and one has to stay. Each looks whether the other is there, and goes."""
    kv.put("on call/alice", "")
    kv.put("on call/bob", "")

    def leave(tx: Transaction, me: str, other: str) -> None:
        if me == "alice":
            once.begin()
        if tx.get(f"on call/{other}") is not None:
            once(lambda: kv.stm(lambda tx: leave(tx, "bob", "alice"), isolation=isolation) if me == "alice" else None)
            tx.delete(f"on call/{me}")

    kv.stm(lambda tx: leave(tx, "alice", "bob"), isolation=isolation)
    left = [found.key for found in kv.iterate("on call/", prefix=True)]
    assert left == ([] if isolation is Isolation.READ_COMMITTED else [b"on call/alice"])


@pytest.mark.parametrize("isolation", ALL)
def test_write_skew_over_a_range(kv: KV, once: Once, isolation: Isolation) -> None:
    for name in ("alice", "bob"):
        kv.put(f"on call/{name}", "")

    def leave(tx: Transaction, me: str) -> None:
        if me == "alice":
            once.begin()
        if len(tx.range("on call/", prefix=True)) > 1:
            once(lambda: kv.stm(lambda tx: leave(tx, "bob"), isolation=isolation) if me == "alice" else None)
            tx.delete(f"on call/{me}")

    kv.stm(lambda tx: leave(tx, "alice"), isolation=isolation)
    left = [found.key for found in kv.iterate("on call/", prefix=True)]
    assert left == ([] if isolation is Isolation.READ_COMMITTED else [b"on call/alice"])


# --- giving up -------------------------------------------------------------------------------------------------------


def always_late(kv: KV, attempts: list[int]) -> Callable[[Transaction], None]:
    def function(tx: Transaction) -> None:
        attempts.append(1)
        tx.get("a")
        kv.put("a", "theirs")
        tx.put("a", "ours")

    return function


def test_after_so_many_attempts_it_is_given_up(kv: KV) -> None:
    attempts: list[int] = []
    with pytest.raises(TxnFailed, match="3 times"):
        kv.stm(always_late(kv, attempts), max_attempts=3)
    assert len(attempts) == 3
    assert value(kv, "a") == b"theirs"


def test_when_the_time_is_up_it_is_given_up(kv: KV) -> None:
    with pytest.raises(DeadlineExceeded, match="conflict"):
        kv.stm(always_late(kv, []), timeout=0.3)
    assert value(kv, "a") == b"theirs"


def test_an_unknown_outcome_is_not_repeated(kv: KV, store: InterposedEngine, once: Once) -> None:
    store.fail("txn", OutcomeUnknown("answer lost"), applied=True)

    def function(tx: Transaction) -> None:
        once.begin()
        tx.put("a", str(number(tx, "a") + 1))

    with pytest.raises(OutcomeUnknown):
        kv.stm(function)
    assert (once.attempts, value(kv, "a")) == (1, b"1")


@pytest.mark.parametrize("isolation", SNAPSHOTS)
@pytest.mark.parametrize("swallowed", [False, True])
def test_a_snapshot_that_was_compacted_is_taken_anew(kv: KV, once: Once, isolation: Isolation, swallowed: bool) -> None:
    errors: list[VersionConflict] = []

    def function(tx: Transaction) -> int:
        once.begin()
        first = number(tx, "a")
        once(lambda: (kv.put("a", "7"), kv.compact(kv.put("b", "8").revision)))
        try:
            second = number(tx, "b")
        except VersionConflict as error:
            errors.append(error)
            if not swallowed:
                raise
            second = -1
        tx.put("sum", str(first + second))
        return first + second

    assert kv.stm(function, isolation=isolation) == 15
    assert (once.attempts, value(kv, "sum")) == (2, b"15")
    assert [type(error.__cause__) for error in errors] == [Compacted]


def test_a_member_that_is_behind_is_not_asked_alone(kv: KV, store: InterposedEngine, once: Once) -> None:
    def function(tx: Transaction) -> None:
        once.begin()
        tx.get("a")
        store.fail("range", FutureRevision("behind"))
        tx.get("b")

    kv.stm(function)
    assert once.attempts == 1
    assert store.pending_faults("range") == 0


def test_a_store_that_lost_the_snapshot_is_read_anew(kv: KV, store: InterposedEngine, once: Once) -> None:
    def function(tx: Transaction) -> None:
        once.begin()
        tx.get("a")
        once(lambda: store.fail("range", FutureRevision("wiped"), times=2))
        tx.get("b")

    kv.stm(function)
    assert once.attempts == 2


async def coroutine(tx: AsyncTransaction) -> None:
    await tx.get("a")


@pytest.mark.parametrize(
    ("function", "options", "name"),
    [
        (lambda tx: None, {"max_attempts": 0}, "max_attempts"),
        (lambda tx: None, {"max_attempts": 1.5}, "max_attempts"),
        (lambda tx: None, {"isolation": "serializable"}, "isolation"),
        (coroutine, {}, "coroutine"),
        (lambda tx: tx.get(""), {}, "key"),
        (lambda tx: tx.put("a", 1), {}, "value"),
        (lambda tx: tx.range("a", "b", prefix=True), {}, "range_end"),
    ],
)
def test_what_is_wrong_is_named(kv: KV, function: Any, options: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidRequest, match=name):
        kv.stm(function, **options)


# --- many at a time --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", VALIDATED)
def test_transfers_of_threads_keep_the_sum(kv: KV, isolation: Isolation) -> None:
    accounts = [f"account/{number}" for number in range(4)]
    for account in accounts:
        kv.put(account, "100")
    errors: list[BaseException] = []

    def transfer(tx: Transaction, source: str, target: str) -> None:
        amount = min(7, number(tx, source))
        tx.put(source, str(number(tx, source) - amount))
        tx.put(target, str(number(tx, target) + amount))

    def audit(tx: Transaction) -> int:
        return sum(map(int, tx.range("account/", prefix=True).values()))

    def work(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(12):
                source, target = chance.sample(accounts, 2)
                kv.stm(lambda tx: transfer(tx, source, target), isolation=isolation)  # noqa: B023
                assert kv.stm(audit, isolation=isolation) == 400
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert sum(int(found.value) for found in kv.iterate("account/", prefix=True)) == 400


def test_counts_of_tasks_all_count(kv: KV) -> None:
    async def count(tx: AsyncTransaction) -> int:
        one, other = await asyncio.gather(tx.get("one"), tx.get("other"))
        assert one == other
        total = int(one or 0) + 1
        tx.put("one", str(total))
        tx.put("other", str(total))
        return total

    async def use() -> list[int]:
        return await asyncio.gather(*(kv.astm(count, timeout=60) for _ in range(8)))

    assert sorted(asyncio.run(use())) == list(range(1, 9))
    assert value(kv, "one") == value(kv, "other") == b"8"


@pytest.mark.parametrize("isolation", ALL)
def test_the_asynchronous_twin_does_the_same(kv: KV, once: Once, isolation: Isolation) -> None:
    kv.put("a", "1")

    async def function(tx: AsyncTransaction) -> tuple[Any, ...]:
        once.begin()
        seen = (await tx.get("a"), await tx.revision("none"), await tx.range("r/", prefix=True))
        once(lambda: kv.put("a", "2"))
        tx.put("a", "3")
        tx.delete("b")
        return *seen, await tx.get("a")

    answer = asyncio.run(kv.astm(function, isolation=isolation))
    committed = b"1" if isolation is Isolation.READ_COMMITTED else b"2"
    assert answer == (committed, 0, {}, b"3")
    assert value(kv, "a") == b"3"


def test_a_cancelled_task_writes_nothing(kv: KV) -> None:
    async def function(tx: AsyncTransaction) -> None:
        await tx.get("a")
        tx.put("a", "1")
        await asyncio.sleep(3600)

    async def use() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await kv.astm(function)

    asyncio.run(use())
    assert value(kv, "a") is None
