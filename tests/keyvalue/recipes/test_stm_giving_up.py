"""When a transaction in memory is tried anew, and when it is given up."""

from __future__ import annotations

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
from django_etcdaero.keyvalue import KV, Isolation
from django_etcdaero.keyvalue.recipes.stm import AsyncTransaction, Transaction
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.recipes.looking import value
from tests.keyvalue.recipes.transacting import SNAPSHOTS, Once, number


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
