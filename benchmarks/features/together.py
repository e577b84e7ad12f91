"""Probes: entries that belong together, batches, and where entries are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from features.peers import Peer
from features.trying import LONG, Answer, Unpickled, in_forks, wait_until


def tags(peer: Peer) -> Answer:
    cache = peer.make()
    if hasattr(cache, "evict"):  # diskcache: one tag
        for number in range(20):
            cache.set(f"k{number}", number, LONG, tag="t")
        return "one an entry, deletes each" if cache.evict("t") == 20 else False
    for number in range(20):
        cache.set(f"k{number}", str(number), LONG, tags=["t", "u"])
    before = cache.stats()
    cache.invalidate_tags("t")
    after = cache.stats()
    return not cache.get_many([f"k{number}" for number in range(20)]) and after["deletes"] == before["deletes"]


def own_prefix_cleared(peer: Peer) -> Answer:
    cache, other = peer.make(KEY_PREFIX="one"), peer.make(KEY_PREFIX="two")
    cache.set("k", 1, LONG)
    other.set("k", 2, LONG)
    cache.clear()
    return cache.get("k") is None and other.get("k") == 2


def keys(peer: Peer) -> Answer:
    cache = peer.make()
    cache.set_many({"a1": 1, "a2": 2, "b1": 3}, LONG)
    found = sorted(cache.keys("a*")) == ["a1", "a2"] and len(list(cache.iter_keys("*"))) == 3
    return found and cache.delete_pattern("a*") == 2 and cache.get("b1") == 3


def _calls(cache: Any, names: tuple[str, ...], work: Callable[[], object]) -> int:
    """Return how often methods for one key are called meanwhile."""
    count = []

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            count.append(1)
            return method(*args, **kwargs)

        return call

    for name in names:
        setattr(cache, name, counted(getattr(cache, name)))
    work()
    return len(count)


def batches(peer: Peer) -> Answer:
    cache, many = peer.make(), {f"k{number}": "text" for number in range(50)}

    def work() -> None:
        cache.set_many(many, LONG)
        if cache.get_many(many) != many:
            raise RuntimeError("not all are there")
        cache.delete_many(many)

    return _calls(cache, ("get", "set", "delete"), work) == 0


def awaited_batches(peer: Peer) -> Answer:
    cache, many = peer.make("async"), {f"k{number}": "text" for number in range(50)}

    async def work() -> None:
        await cache.aset_many(many, LONG)
        if await cache.aget_many(many) != many:
            raise RuntimeError("not all are there")
        await cache.adelete_many(many)

    names = ("get", "set", "delete", "aget", "aset", "adelete")
    return _calls(cache, names, lambda: asyncio.run(work())) == 0


def shared(peer: Peer) -> Answer:
    cache = peer.make()
    in_forks(lambda: cache.set("k", 1, LONG), 1)
    return cache.get("k") == 1


def near(peer: Peer) -> Answer:
    cache = peer.make("near")
    cache.set("k", "old", LONG)

    def from_memory() -> bool:
        before = cache.stats()["near_hits"]
        return cache.get("k") is not None and cache.stats()["near_hits"] > before

    held = wait_until(from_memory)
    in_forks(lambda: cache.set("k", "new", LONG), 1)
    return held and wait_until(lambda: cache.get("k") == "new")


def no_thread_hop(peer: Peer) -> Answer:
    cache = peer.make("loop")

    async def main() -> bool:
        await cache.aset("k", Unpickled(), LONG)
        Unpickled.threads.clear()
        for _ in range(100):
            await cache.aget("k")
            if Unpickled.threads[-1] == threading.get_ident():
                return True
            await asyncio.sleep(0.02)
        return False

    return asyncio.run(main())
