"""Functions that users give: where nobody would await it a coroutine function is refused, else it is awaited."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from django_etcdaero.exceptions import Cancelled, DeadlineExceeded, InvalidRequest, LeaseNotFound
from django_etcdaero.keyvalue import KV
from tests.keyvalue.objects.samples import ADA, Order
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.parametrize("engine", ["mem"], indirect=True),
    pytest.mark.filterwarnings("error::RuntimeWarning"),
]


async def true(*_: object) -> bool:
    return True


async def false(*_: object) -> bool:
    return False


CALLS: dict[str, Callable[[KV, Any], object]] = {
    "watch": lambda kv, given: kv.watch("a", callback=given),
    "lock": lambda kv, given: kv.lock("a").on_lost(given),
    "lease": lambda kv, given: kv.lease(10).on_lost(given),
    "observe": lambda kv, given: kv.election("a").observe(callback=given),
    "mirror": lambda kv, given: kv.mirror("a", decode=given),
    "on_change": lambda kv, given: kv.mirror("a").on_change(given),
    "where": lambda kv, given: kv.objects(Order, "a").list(where=given),
    "wait_for": lambda kv, given: kv.wait_for("a", given, timeout=5),
    "mirror.wait_for": lambda kv, given: kv.mirror("a").wait_for(given, timeout=5),
    "stm": lambda kv, given: kv.stm(given),
    "run": lambda kv, given: kv.election("a").run(given),
    "consistent_update": lambda kv, given: kv.objects(Order, "o").consistent_update("1", given),
}


@pytest.mark.parametrize("call", CALLS)
def test_nobody_waits_for_a_coroutine_in_vain(kv: KV, call: str) -> None:
    kv.objects(Order, "o").create("1", ADA)
    for given in (true, partial(true)):
        with pytest.raises(InvalidRequest, match="await"):
            CALLS[call](kv, given)
    assert kv.election("a").leader() is None


def test_a_condition_that_is_waited_for_may_be_a_coroutine_function(kv: KV) -> None:
    async def play() -> None:
        assert await kv.await_for("a", true, timeout=5) is None
        with pytest.raises(DeadlineExceeded):
            await kv.await_for("a", false, timeout=0)
        async with await kv.amirror("a") as mirror:
            assert await mirror.await_for(true, timeout=5) is True
            with pytest.raises(DeadlineExceeded):
                await mirror.await_for(false, timeout=0)

    asyncio.run(play())


def leave(*_: object) -> None:
    raise SystemExit


def test_a_callback_that_exits_ends_nothing_but_itself(kv: KV) -> None:
    told, lost = [], threading.Event()
    mirror = kv.mirror("a")
    mirror.on_change(leave)
    with kv.watch("a", callback=lambda event: (told.append(event), leave())):
        for number in range(3):
            kv.put("a", str(number))
            wait_until(lambda number=number: len(told) == number + 1)  # type: ignore[misc]
            mirror.wait_for(lambda seen, number=number: seen.get("") == b"%d" % number, timeout=10)
    for callback in (leave, lost.set):
        lease = kv.lease(10)
        lease.on_lost(callback)
        kv.revoke_lease(lease.id)
        with pytest.raises(LeaseNotFound):
            lease.keep_alive()
    assert lost.wait(10)


def test_a_mirror_whose_function_exits_serves_nothing_any_more(kv: KV) -> None:
    mirror = kv.mirror("a", decode=lambda value: leave() if value == b"exit" else value)
    kv.put("a", "exit")
    wait_until(lambda: mirror.closed)
    with pytest.raises(Cancelled):
        len(mirror)
