from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_etcdaero.exceptions import DeadlineExceeded, InvalidRequest, OutcomeUnknown, TxnFailed
from django_etcdaero.keyvalue import KV
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.recipes.looking import value


def at_the_same_time(calls: list[Callable[[], object]]) -> None:
    """Run ``calls`` in threads that start together; an error of any of them is raised here."""
    barrier = threading.Barrier(len(calls))
    errors: list[BaseException] = []

    def work(call: Callable[[], object]) -> None:
        try:
            barrier.wait(10)
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]


# --- increments ------------------------------------------------------------------------------------------------------


def test_a_missing_key_counts_as_the_initial_number(kv: KV) -> None:
    assert kv.increment("n") == 1
    assert kv.increment("n", 5) == 6
    assert kv.increment("n", -10) == -4
    assert value(kv, "n") == b"-4"
    assert kv.increment("from ten", 1, initial=10) == 11
    assert kv.increment("from ten", 1, initial=10) == 12


@given(start=st.one_of(st.none(), st.integers()), deltas=st.lists(st.integers(), max_size=3))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numbers_of_any_size_add_up(kv: KV, start: int | None, deltas: list[int]) -> None:
    kv.delete("n")
    if start is not None:
        kv.put("n", str(start))
    total = start or 0
    for delta in deltas:
        total += delta
        assert kv.increment("n", delta) == total
        assert value(kv, "n") == str(total).encode()


@pytest.mark.parametrize(("text", "number"), [("007", 7), ("+5", 5), ("-0", 0)])
def test_a_decimal_number_may_be_written_by_others(kv: KV, text: str, number: int) -> None:
    kv.put("n", text)
    assert kv.increment("n") == number + 1


@pytest.mark.parametrize("text", [b"", b"one", b"1.0", b" 1", b"1_000", b"0x10", b"1\n", "\u0661".encode(), b"\xff"])
def test_what_is_no_decimal_number_is_left_alone_and_named(kv: KV, text: bytes) -> None:
    kv.put("n", text)
    with pytest.raises(InvalidRequest, match="value of b'n' is not a decimal integer"):
        kv.increment("n")
    assert value(kv, "n") == text


def test_a_number_that_python_does_not_convert_is_named(kv: KV) -> None:
    kv.put("n", "9" * (sys.get_int_max_str_digits() + 1))
    with pytest.raises(InvalidRequest, match="b'n' has too many digits"):
        kv.increment("n")
    kv.put("n", "9" * sys.get_int_max_str_digits())
    with pytest.raises(InvalidRequest, match="b'n' has too many digits"):
        kv.increment("n")


def test_an_increment_keeps_the_lease(kv: KV) -> None:
    lease = kv.lease(60)
    kv.put("n", "1", lease=lease)
    kv.increment("n")
    found = kv.get("n")
    assert found is not None
    assert (found.value, found.lease) == (b"2", lease.id)
    lease.revoke()


@pytest.mark.parametrize("options", [{"delta": "1"}, {"delta": 1.5}, {"delta": True}, {"initial": None}])
def test_a_number_that_is_none_is_refused(kv: KV, options: dict[str, int]) -> None:
    (name,) = options
    with pytest.raises(InvalidRequest, match=name):
        kv.increment("n", **options)
    assert value(kv, "n") is None


def test_increments_of_threads_all_count(kv: KV) -> None:
    at_the_same_time([lambda: [kv.increment("n") for _ in range(10)] for _ in range(8)])
    assert value(kv, "n") == b"80"


def test_the_sums_that_threads_get_are_all_different(kv: KV) -> None:
    sums: list[int] = []
    at_the_same_time([lambda: sums.append(kv.increment("n")) for _ in range(10)])
    assert sorted(sums) == list(range(1, 11))


def test_a_conflict_costs_one_more_call(kv: KV, store: InterposedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.0)
    kv.put("n", "1")
    others = iter(["10", "20"])

    def interfere() -> None:
        for text in others:
            kv.put("n", text)
            return

    store.before["txn"] = interfere
    store.calls.clear()
    assert kv.increment("n") == 21
    assert (store.calls["range"], store.calls["txn"]) == (1, 3)


def test_an_increment_that_always_loses_gives_up(
    kv: KV, store: InterposedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.0)
    store.before["txn"] = lambda: kv.put("n", "0")
    with pytest.raises(TxnFailed, match="increment of b'n'"):
        kv.increment("n")
    assert store.calls["txn"] == 100


def test_an_increment_ends_in_time(kv: KV, store: InterposedEngine) -> None:
    store.before["txn"] = lambda: kv.put("n", "0")
    with pytest.raises(DeadlineExceeded, match="increment of b'n'"):
        kv.increment("n", timeout=0.3)


def test_an_increment_of_unknown_outcome_is_not_repeated(kv: KV, store: InterposedEngine) -> None:
    store.fail("txn", OutcomeUnknown("answer lost"), applied=True)
    with pytest.raises(OutcomeUnknown):
        kv.increment("n")
    assert value(kv, "n") == b"1"


# --- test and set ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "expected", "written"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a", "", False),
        ("", "", True),
        ("a", None, False),
        ("", None, False),
        (None, None, True),
        (None, "a", False),
        (None, "", False),
    ],
)
def test_a_value_is_set_only_if_the_test_holds(
    kv: KV, store: InterposedEngine, stored: str | None, expected: str | None, written: bool
) -> None:
    if stored is not None:
        kv.put("k", stored)
    store.calls.clear()
    assert kv.test_and_set("k", expected, "new") is written
    assert sum(store.calls.values()) == 1
    assert value(kv, "k") == (b"new" if written else None if stored is None else stored.encode())


def test_a_value_that_is_set_keeps_the_lease(kv: KV) -> None:
    lease = kv.lease(60)
    kv.put("k", "a", lease=lease)
    assert kv.test_and_set("k", "a", "b")
    found = kv.get("k")
    assert found is not None
    assert (found.value, found.lease) == (b"b", lease.id)
    lease.revoke()


@pytest.mark.parametrize("stored", [None, "a"])
def test_one_of_many_that_test_the_same_sets(kv: KV, stored: str | None) -> None:
    if stored is not None:
        kv.put("k", stored)
    winners: list[str] = []

    def compete(name: str) -> None:
        if kv.test_and_set("k", stored, name):
            winners.append(name)

    at_the_same_time([lambda name=str(number): compete(name) for number in range(8)])  # type: ignore[misc]
    assert len(winners) == 1
    assert value(kv, "k") == winners[0].encode()


def test_what_is_neither_text_nor_bytes_is_named(kv: KV) -> None:
    with pytest.raises(InvalidRequest, match="expected"):
        kv.test_and_set("k", 1, "b")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="value"):
        kv.test_and_set("k", None, None)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="key"):
        kv.test_and_set("", None, "b")


# --- awaited ---------------------------------------------------------------------------------------------------------


def test_the_asynchronous_twins_do_the_same(kv: KV) -> None:
    async def use() -> None:
        sums = await asyncio.gather(*(kv.aincrement("n", timeout=30) for _ in range(6)))
        assert sorted(sums) == list(range(1, 7))
        assert await kv.atest_and_set("n", "6", "x")
        assert not await kv.atest_and_set("n", "6", "y")
        with pytest.raises(InvalidRequest, match="decimal"):
            await kv.aincrement("n")

    asyncio.run(use())
    assert value(kv, "n") == b"x"
