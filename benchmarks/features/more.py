"""Probes: locks, flags, and what else there is."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from features.peers import Peer
from features.trying import LONG, Answer


def _lock(cache: Any) -> Any:
    return (cache.lock if hasattr(cache, "lock") else cache.get_lock)("l")


def _taken(lock: Any) -> bool:
    return lock.try_acquire() if hasattr(lock, "try_acquire") else lock.acquire(blocking=False)


def locks(peer: Peer) -> Answer:
    cache = peer.make()
    first, second = _lock(cache), _lock(cache)
    if not _taken(first) or _taken(second):
        return False
    first.release()
    return _taken(second) and second.release() is None


def fencing_tokens(peer: Peer) -> Answer:
    cache, found = peer.make(), []
    for _ in range(3):
        lock = _lock(cache)
        _taken(lock)
        found.append(lock.token)
        lock.release()
    return all(isinstance(each, int) for each in found) and found == sorted(set(found))


def flags(peer: Peer) -> Answer:
    cache = peer.make()
    created = cache.set("k", 1, LONG, nx=True) and not cache.set("k", 2, LONG, nx=True)
    replaced = not cache.set("absent", 1, LONG, xx=True) and cache.set("k", 3, LONG, xx=True)
    return bool(created and replaced and cache.get("k") == 3)


def previous_value(peer: Peer) -> Answer:
    cache = peer.make()
    cache.set("k", "old", LONG)
    return cache.set("k", "new", LONG, get=True) == "old" and cache.get("k") == "new"


def stats(peer: Peer) -> Answer:
    cache = peer.make()
    if hasattr(cache, "evict"):
        cache.stats(enable=True, reset=True)
        cache.get("absent")
        return cache.stats() == (0, 1)
    cache.stats(reset=True)
    cache.get("absent")
    return cache.stats()["misses"] == 1


def memoize(peer: Peer) -> Answer:
    loads = []
    function = peer.make().memoize(timeout=LONG)(lambda number: loads.append(1) or number)
    return function(1) == function(1) == 1 and len(loads) == 1


def structures(peer: Peer) -> Answer:
    cache = peer.make()
    cache.sadd("s", 1, 2)
    return {int(each) for each in cache.smembers("s")} == {1, 2}


def admin_pages(peer: Peer) -> Answer:
    package = peer.entry["BACKEND"].partition(".")[0]
    return package != "django" and find_spec(f"{package}.admin") is not None
