"""Stores that fail in the tests of users."""

from __future__ import annotations

import asyncio

import pytest

from django_etcdaero import kv
from django_etcdaero.exceptions import ClusterError, EventsLost, InvalidRequest, LockTimeout, OutcomeUnknown, StoreBusy
from django_etcdaero.keyvalue import ResyncReason
from django_etcdaero.testing import failing_kv, interruptible_watches


def test_inside_the_block_calls_fail_and_afterwards_they_work() -> None:
    kv.put("a", "1")
    with failing_kv(ClusterError("away")) as store:
        for call in (lambda: kv.get("a"), lambda: kv.put("a", "2"), lambda: kv.lease(5), lambda: kv.watch("a")):
            with pytest.raises(ClusterError, match="away"):
                call()
        assert store.failed >= 4
    assert kv.range("a").kvs[0].value == b"1"


def test_only_the_chosen_calls_fail_and_only_so_often() -> None:
    with failing_kv(StoreBusy("busy"), calls=["put"], times=2) as store:
        for _ in range(2):
            with pytest.raises(StoreBusy):
                kv.put("a", "1")
        kv.put("a", "1")
        assert kv.get("a") is not None
        assert store.failed == 2


def test_an_answer_can_be_lost_after_the_work_was_done() -> None:
    with failing_kv(OutcomeUnknown("lost"), calls=["put"], applied=True), pytest.raises(OutcomeUnknown):
        kv.put("a", "1")
    assert kv.get("a") is not None


def test_what_is_made_of_calls_fails_with_them() -> None:
    with failing_kv(ClusterError("away"), calls=["txn"]), pytest.raises(ClusterError):
        kv.lock("L").try_acquire()
    assert kv.lock("L").try_acquire()
    with pytest.raises(LockTimeout):
        kv.lock("L").acquire(0)


def test_awaited_calls_fail_once_each() -> None:
    async def use() -> None:
        with failing_kv(ClusterError("away")) as store:
            with pytest.raises(ClusterError):
                await kv.aget("a")
            with pytest.raises(ClusterError):
                await kv.aput("a", "1")
            assert store.failed == 2

    asyncio.run(use())


@failing_kv(ClusterError("away"), calls=["put"])
def test_a_function_may_be_decorated_and_blocks_nest() -> None:
    with failing_kv(StoreBusy("busy"), calls=["put"]), pytest.raises(StoreBusy):
        kv.put("a", "1")
    with pytest.raises(ClusterError):
        kv.put("a", "1")


@pytest.mark.parametrize("calls", ["put", ["put", "get"]])
def test_an_unknown_call_is_named(calls: object) -> None:
    with pytest.raises(InvalidRequest, match="collection of range, put"):
        failing_kv(ClusterError("away"), calls=calls)  # type: ignore[arg-type]


@pytest.mark.parametrize("reason", [ResyncReason.COMPACTED, ResyncReason.RESET])
def test_a_watch_can_be_interrupted_and_goes_on_from_a_snapshot(reason: ResyncReason) -> None:
    kv.put("a", "1")
    with interruptible_watches() as interrupt, kv.watch("a") as watch:
        interrupt(reason)
        with pytest.raises(EventsLost) as caught:
            watch.next(timeout=20)
        assert (caught.value.reason, [found.value for found in caught.value.snapshot]) == (reason, [b"1"])
        kv.put("a", "2")
        assert watch.next(timeout=20).kv.value == b"2"
        interrupt(reason)
        with pytest.raises(EventsLost):
            watch.next(timeout=20)


def test_an_overflow_is_the_consumer_s_own_and_cannot_be_had_here() -> None:
    with interruptible_watches() as interrupt, pytest.raises(InvalidRequest, match="COMPACTED or RESET"):
        interrupt(ResyncReason.OVERFLOW)
