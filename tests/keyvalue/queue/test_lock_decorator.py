"""``@kv.lock("name")``: functions that run under a lock."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest
from django.template import Context, Engine

from django_etcdaero.exceptions import InvalidRequest, LockLost, LockTimeout
from django_etcdaero.keyvalue import KV
from tests.keyvalue.queue.queueing import in_thread, keys
from tests.waiting import wait_until

pytestmark = pytest.mark.parametrize("engine", ["mem"], indirect=True)


def test_a_call_holds_the_lock(kv: KV, other: KV) -> None:
    @kv.lock("L", ttl=7, timeout=0)
    def report(day: str, *, full: bool = False) -> str:
        """Report."""
        assert not other.lock("L").try_acquire()
        assert kv.lease_status(kv.session(7).lease, keys=True).keys
        return f"{day} {full}"

    assert report("monday", full=True) == "monday True"
    assert (report.__name__, report.__doc__) == ("report", "Report.")
    assert keys(kv) == []
    with other.lock("L"), pytest.raises(LockTimeout):
        report("tuesday")
    assert report("tuesday") == "tuesday False"


def test_an_error_of_the_function_releases_the_lock(kv: KV) -> None:
    @kv.lock("L")
    def fail() -> None:
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fail()
    assert keys(kv) == []


def test_calls_of_several_threads_take_turns(kv: KV) -> None:
    inside, go_on, done = threading.Event(), threading.Event(), []

    @kv.lock("L", timeout=30)
    def work(number: int) -> None:
        inside.set()
        go_on.wait(20)
        done.append(number)

    threads = [in_thread(lambda: work(1))]
    assert inside.wait(20)
    threads.append(in_thread(lambda: work(2)))
    wait_until(lambda: len(kv.lock("L").queue()) == 2, what="the second call in line")
    assert done == []
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert done == [1, 2]


def test_coroutine_functions_hold_it_while_they_run(kv: KV) -> None:
    order: list[str] = []

    @kv.lock("L", timeout=30)
    async def work(name: str) -> str:
        order.append(name)
        await asyncio.sleep(0)
        assert len(await kv.lock("L").aqueue()) >= 1
        order.append(name)
        return name

    async def main() -> None:
        assert await asyncio.gather(work("a"), work("b")) == ["a", "b"]

    asyncio.run(main())
    assert order[0] == order[1] != order[2] == order[3]
    assert keys(kv) == []


def test_recursion_is_refused_instead_of_waiting_for_itself(kv: KV) -> None:
    @kv.lock("L")
    def again(depth: int) -> int:
        return again(depth - 1) if depth else 0

    @kv.lock("M")
    async def aagain(depth: int) -> int:
        return await aagain(depth - 1) if depth else 0

    for _ in range(2):
        with pytest.raises(InvalidRequest, match=r"^[^<]*<locals>\.again\(\) calls itself under the lock 'L'"):
            again(1)
        assert again(0) == 0
    with pytest.raises(InvalidRequest, match="calls itself under the lock 'M'"):
        asyncio.run(aagain(1))
    assert asyncio.run(aagain(0)) == 0


def test_a_lock_that_was_lost_during_the_call_is_told(kv: KV, other: KV) -> None:
    @kv.lock("L")
    def work() -> None:
        other.lock("L").force_release()

    with pytest.raises(LockLost):
        work()


def test_generators_are_refused(kv: KV) -> None:
    def numbers() -> Iterator[int]:
        yield 1

    async def anumbers() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, anumbers):
        with pytest.raises(InvalidRequest, match="is a generator"):
            kv.lock("L")(function)


def test_a_template_shows_the_lock_and_does_not_call_it(kv: KV) -> None:
    lock = kv.lock("L")
    assert Engine().from_string("{{ lock.label }}").render(Context({"lock": lock})) == "L"


@pytest.mark.parametrize("what", [None, 5, property(lambda self: 1)])
def test_what_is_no_function_is_refused(kv: KV, what: Any) -> None:
    with pytest.raises(InvalidRequest, match="function"):
        kv.lock("L")(what)


class Awaited:
    """An object that is called like a coroutine function."""

    def __init__(self, kv: KV) -> None:
        self.kv = kv

    async def __call__(self, wanted: int) -> bool:
        return len(await self.kv.lock("L").aqueue()) == wanted


def test_an_object_with_a_coroutine_function_runs_under_the_lock(kv: KV) -> None:
    for function in (Awaited(kv), partial(Awaited(kv))):
        assert asyncio.run(kv.lock("L")(function)(1))


def test_a_coroutine_that_would_run_without_the_lock_is_refused(kv: KV) -> None:
    hidden = kv.lock("L")(lambda: Awaited(kv)(1))
    with pytest.raises(InvalidRequest, match="coroutine"):
        hidden()
    assert keys(kv) == []
