"""A call that would block an event loop says so, and names the one that is to be awaited."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue import KV, ops
from django_etcdaero.keyvalue.administration import Auth
from django_etcdaero.system.blocking import ALLOWED_BY

pytestmark = pytest.mark.parametrize("engine", ["mem"], indirect=True)


@dataclass(frozen=True)
class Worker:
    name: str


@pytest.fixture
def told(_blocking_calls_in_event_loops: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(ALLOWED_BY)
    yield
    monkeypatch.setenv(ALLOWED_BY, "1")


def context(manager: Any) -> None:
    with manager:
        raise AssertionError("it was entered")


def worked() -> None:
    raise AssertionError("it was called")


CALLS: dict[str, Callable[[KV], object]] = {
    "aget": lambda kv: kv.get("a"),
    "aput": lambda kv: kv.put("a", "1"),
    "adelete": lambda kv: kv.delete("a"),
    "arange": lambda kv: kv.range("a"),
    "adelete_range": lambda kv: kv.delete_range("a"),
    "acommit": lambda kv: kv.txn().then(ops.get("a")).commit(),
    "async for … in aiterate": lambda kv: list(kv.iterate("a", prefix=True)),
    "afirst": lambda kv: kv.first("a"),
    "aincrement": lambda kv: kv.increment("a"),
    "astm": lambda kv: kv.stm(lambda tx: tx.get("a")),
    "amirror": lambda kv: kv.mirror("a"),
    "async with watch(": lambda kv: kv.watch("a", callback=print),
    "async for": lambda kv: next(kv.watch("a")),
    "anext": lambda kv: kv.watch("a").next(timeout=1),
    "await_for_change": lambda kv: kv.wait_for_change("a", timeout=1),
    "alease": lambda kv: kv.lease(10),
    "asession": lambda kv: kv.session(10),
    "atemporary_key": lambda kv: kv.temporary_key("a"),
    "aacquire": lambda kv: kv.lock("a").acquire(),
    "atry_acquire": lambda kv: kv.lock("a").try_acquire(),
    "async with": lambda kv: context(kv.lock("a")),
    "async def worked": lambda kv: kv.lock("a")(worked)(),
    "aclose": lambda kv: kv.close(),
    "acampaign": lambda kv: kv.election("a").campaign(),
    "arun": lambda kv: kv.election("a").run(lambda leadership: None),
    "aholder": lambda kv: kv.lock("a").holder(),
    "aexists": lambda kv: kv.objects(Worker, "a").exists("1"),
    "aleased": lambda kv: kv.objects(Worker, "a").leased("1", Worker("x")),
    "aconsistent_update": lambda kv: kv.objects(Worker, "a").consistent_update("1", lambda one: one),
    "anext(": lambda kv: kv.objects(Worker, "a").watch().next(timeout=1),
    "astatus": lambda kv: Auth(None).status(),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("instead", CALLS)
def test_it_is_refused_and_the_one_to_await_is_named(kv: KV, told: None, instead: str) -> None:
    async def main() -> None:
        with pytest.raises(
            InvalidRequest, match=rf"would block the event loop.*'(await )?{re.escape(instead)}"
        ) as caught:
            CALLS[instead](kv)
        assert ALLOWED_BY in str(caught.value)

    asyncio.run(main())
    assert not kv.leases()
    assert kv.range("", prefix=True).kvs == ()


def test_it_may_be_allowed(kv: KV, told: None, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        assert kv.put("a", "1")

    monkeypatch.setenv(ALLOWED_BY, "true")
    asyncio.run(main())
    assert kv.get("a")


def test_threads_beside_a_loop_make_such_calls(kv: KV, told: None) -> None:
    async def main() -> None:
        await asyncio.to_thread(kv.put, "a", "1")
        with pytest.raises(InvalidRequest, match="aget"):
            kv.get("a")

    thread = threading.Thread(target=asyncio.run, args=[main()])
    thread.start()
    kv.get("a")
    thread.join(20)
    assert kv.get("a")


def test_what_asks_no_store_is_not_refused(kv: KV, told: None) -> None:
    async def main() -> None:
        lock, lease = kv.lock("L"), await kv.alease(10)
        async with lock:
            assert lock.held
            lock.check()
            lock.compare()
            lock.cancel()
        assert lease.alive
        await lease.arevoke()
        async with kv.watch("a") as changes:
            await kv.aput("a", "1")
            assert await changes.anext(timeout=10)
        mirror = await kv.amirror("")
        assert dict(mirror) == {"a": b"1"}
        mirror.close()
        kv.open_watches()
        kv.txn().when(ops.version("a") == 0).request()

    asyncio.run(main())
