"""Transactions in memory: what a function sees, what it costs, and many of them at a time."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

import pytest

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue import KV, Isolation
from django_etcdaero.keyvalue.recipes.stm import AsyncTransaction, Transaction
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.recipes.looking import value
from tests.keyvalue.recipes.transacting import ALL, SNAPSHOTS, VALIDATED, Once, number

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
