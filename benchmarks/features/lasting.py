"""Probes: timeouts and numbers."""

from __future__ import annotations

from features.peers import Peer
from features.trying import FORKS, LONG, Answer, in_forks, wait_until


def ttl(peer: Peer) -> Answer:
    cache = peer.make()
    cache.set("k", 1, LONG)
    cache.set("forever", 1, None)
    return LONG - 10 < cache.ttl("k") <= LONG and cache.ttl("forever") is None


def touch(peer: Peer) -> Answer:
    cache = peer.make()
    cache.set("k", 1, 1)
    return cache.touch("k", LONG) and not wait_until(lambda: cache.get("k") is None, 1.5)


def expire_and_persist(peer: Peer) -> Answer:
    cache = peer.make()
    cache.set("k", 1, LONG)
    changed = cache.expire("k", LONG // 2) and LONG // 2 - 10 < cache.ttl("k") <= LONG // 2
    return changed and cache.persist("k") and cache.ttl("k") is None


def fractions(peer: Peer) -> Answer:
    cache = peer.make()
    cache.set("k", 1, 0.4)
    return cache.get("k") == 1 and wait_until(lambda: cache.get("k") is None, 0.9)


def jitter(peer: Peer) -> Answer:
    cache = peer.make("jitter")
    cache.set_many({str(number): "text" for number in range(20)}, LONG)
    return len({cache.ttl(str(number)) for number in range(20)}) > 1


def atomic_increments(peer: Peer) -> Answer:
    cache = peer.make()
    cache.set("n", 0, None)
    in_forks(lambda: [cache.incr("n") for _ in range(200)])
    return cache.get("n") == FORKS * 200


def increments_keep_the_timeout(peer: Peer) -> Answer:
    cache = peer.make()
    cache.set("n", 1, 1)
    cache.incr("n")
    return cache.get("n") == 2 and wait_until(lambda: cache.get("n") is None, 2.5)


def versions_keep_the_timeout(peer: Peer) -> Answer:
    cache = peer.make()
    cache.set("k", "text", 1)
    version = cache.incr_version("k")
    return cache.get("k", version=version) == "text" and wait_until(
        lambda: cache.get("k", version=version) is None, 2.5
    )


def large_numbers(peer: Peer) -> Answer:
    cache = peer.make()
    cache.set("n", 2**63 - 1, None)
    return cache.incr("n") == 2**63 and cache.get("n") == 2**63
