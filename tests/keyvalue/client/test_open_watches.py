"""Every watch of a client is among its open ones, with what it is for, from its beginning to its end."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from django_etcdaero.exceptions import Cancelled, ClusterError
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.client.open_watches import OpenWatch, Use
from django_etcdaero.keyvalue.client.watch import Resync
from tests.keyvalue.interposed import InterposedEngine
from tests.waiting import wait_until

pytestmark = pytest.mark.parametrize("engine", ["mem"], indirect=True)


@dataclass
class City:
    people: int = 0


def uses(kv: KV) -> list[tuple[str, bytes]]:
    return sorted((each.use.value, each.name) for each in kv.open_watches())


def of_use(kv: KV, use: Use) -> list[OpenWatch]:
    return [each for each in kv.open_watches() if each.use is use]


@contextmanager
def waiting(wait: Callable[[], object], end: Callable[[], object]) -> Iterator[None]:
    """Let a thread wait until ``end()``."""

    def run() -> None:
        with pytest.raises(Cancelled):
            wait()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    end()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("make", "use"),
    [
        (lambda kv: kv.lock("x"), Use.LOCK),
        (lambda kv: kv.semaphore("x", 1), Use.SEMAPHORE),
        (lambda kv: kv.rwlock("x").read(), Use.READ_LOCK),
        (lambda kv: kv.rwlock("x").write(), Use.WRITE_LOCK),
    ],
    ids=["lock", "semaphore", "read lock", "write lock"],
)
@pytest.mark.parametrize("awaited", [False, True], ids=["thread", "task"])
def test_waits_in_queues(kv: KV, make: Callable[[KV], Any], use: Use, awaited: bool) -> None:
    first = kv.rwlock("x").write() if "lock" in use and " " in use else make(kv)
    first.acquire()
    waits = make(kv.namespace("").namespace(""))
    wait = (lambda: asyncio.run(waits.aacquire())) if awaited else waits.acquire
    with waiting(wait, waits.cancel):
        wait_until(lambda: len(of_use(kv, use)) == 1 + (use is Use.SEMAPHORE), what=f"the wait: {uses(kv)}")
        (found, *_) = of_use(kv, use)
        assert (found.name, found.key.startswith(b"x/")) == (b"x", True)
        assert len(of_use(kv.namespace("x/"), use)) >= 1
        assert of_use(kv.namespace("y"), use) == []
        wait_until(lambda: len(of_use(kv, Use.PLACE)) == 2, what="both places being looked after")
    first.release()
    wait_until(lambda: kv.open_watches() == [], what="the end of all")


def test_who_leads_who_wants_to_and_who_observes(kv: KV, store: InterposedEngine) -> None:
    other = KV(store.inner, prefix=kv.prefix)
    leads = kv.election("e", value="a")
    leads.campaign()
    wants = other.election("e", value="b")
    with waiting(wants.campaign, wants.cancel), kv.election("e").observe() as events:
        next(events)
        wait_until(lambda: uses(kv) == [("observer", b"e"), ("place", b"")], what="what the leader has")
        wait_until(lambda: uses(other) == [("election", b"e"), ("place", b"")], what="what the candidate has")
    leads.resign()
    wait_until(lambda: kv.open_watches() == other.open_watches() == [], what="the end of all")
    other.close()


def test_mirrors_objects_temporary_keys_and_waits_for_values(kv: KV) -> None:
    inner = kv.namespace("inner/")
    woken = threading.Event()
    waits = threading.Thread(target=lambda: (inner.wait_for("key", lambda value: value == b"1"), woken.set()))
    with (
        kv.watch("config/", prefix=True),
        kv.objects(City, "cities").watch(),
        kv.temporary_key("here"),
        inner.mirror("m/"),
    ):
        waits.start()
        expected = ["change", "key", "mirror", "objects", "watch"]
        wait_until(lambda: [use for use, _ in uses(kv)] == expected, what="all")
        assert [each.key for each in kv.open_watches() if each.use is Use.CHANGE] == [b"inner/key"]
        assert {use for use, _ in uses(inner)} == {"change", "mirror"}
        inner.put("key", "1")
        waits.join(10)
        assert woken.is_set()
    wait_until(lambda: kv.open_watches() == [], what="the end of all")


@pytest.mark.parametrize(
    "begin",
    [
        lambda kv: kv.watch("a"),
        lambda kv: kv.objects(City, "cities").watch(),
        lambda kv: kv.await_for("a", lambda value: False),
        lambda kv: kv.await_for_change("a"),
        lambda kv: kv.amirror("a/"),
    ],
    ids=["watch", "objects", "wait_for", "wait_for_change", "mirror"],
)
def test_those_of_tasks(kv: KV, begin: Callable[[KV], Any]) -> None:
    async def look() -> None:
        begun = begin(kv)
        task = asyncio.ensure_future(begun if isinstance(begun, Awaitable) else begun.__aenter__())
        for _ in range(1000):
            if kv.open_watches():
                break
            await asyncio.sleep(0.01)
        assert len(kv.open_watches()) == 1
        task.cancel()
        result = (await asyncio.gather(task, return_exceptions=True))[0]
        for each in (begun, result):
            for end in ("cancel", "close"):
                if not isinstance(each, BaseException | Awaitable):
                    getattr(each, end, lambda: None)()

    asyncio.run(look())
    assert kv.open_watches() == []


def test_what_is_followed_stays_the_same_when_the_engine_watches_anew(kv: KV) -> None:
    with kv.watch("a", resync=True, max_pending=1) as watch:
        (before,) = kv.open_watches()
        kv.put("a", "1")
        wait_until(lambda: kv.open_watches()[0].events == 1, what="the first change")
        newest = kv.put("a", "2").revision
        wait_until(lambda: kv.open_watches() == [], what="what was watched too slowly")
        while not isinstance(watch.next(timeout=10), Resync):
            continue
        (after,) = kv.open_watches()
        assert (after.since, after.revision) == (before.since, newest)
        assert after.events == 2
        kv.put("a", "3")
        watch.next(timeout=10)
        (last,) = kv.open_watches()
    assert (last.events, last.revision) == (after.events + 1, newest + 1)


def test_what_could_not_be_opened_or_was_forgotten_is_not_there(kv: KV, store: InterposedEngine) -> None:
    store.fail("watch", ClusterError("away"))
    with pytest.raises(ClusterError):
        kv.watch("a")
    assert kv.open_watches() == []
    watch = kv.watch("a")
    assert len(kv.open_watches()) == 1
    del watch
    gc.collect()
    kv.put("a", "1")  # the engine learns that nobody is there
    wait_until(lambda: kv.open_watches() == [], what="its end")
    watch = kv.watch("a")
    kv.close()
    assert watch.closed
    assert kv.life.open_watches.told(b"") == []
