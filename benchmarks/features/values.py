"""Probes: what stands in the store, and a server that is away."""

from __future__ import annotations

import os
import pickle
from contextlib import suppress
from typing import Any

from features.peers import Peer
from features.trying import LONG, Answer, Unpickled, dead_server


def signed(peer: Peer) -> Answer:
    if peer.raw is None:
        return None
    cache = peer.make()
    cache.set("k", ["value"], LONG)
    stored, replace = peer.raw(peer, cache, "k")
    body, forged = pickle.dumps(["value"], 5)[:2], pickle.dumps(Unpickled(), 5)
    Unpickled.threads.clear()
    for payload in (forged, stored[: max(0, stored.find(body))] + forged):
        replace(payload)
        with suppress(Exception):
            cache.get("k")
    return not Unpickled.threads


def _changeable(peer: Peer, before: str, after: str, value: Any) -> Answer:
    if before not in peer.variants:
        return False
    peer.make(before, KEY_PREFIX=after).set("k", value, LONG)
    return peer.make(after, KEY_PREFIX=after).get("k") in (value, None)


def serializer_changeable(peer: Peer) -> Answer:
    return _changeable(peer, "pickle", "json", {"a": [1, 2]})


def compression(peer: Peer) -> Answer:
    if peer.raw is None:
        return None
    if "zlib" not in peer.variants:
        return False
    cache, value = peer.make("zlib"), "0123456789" * 2000
    cache.set("k", value, LONG)
    return cache.get("k") == value and len(peer.raw(peer, cache, "k")[0]) < 2000


def compressor_changeable(peer: Peer) -> Answer:
    return _changeable(peer, "zlib", "lz4", "0123456789" * 2000)


def large_values(peer: Peer) -> Answer:
    cache, value = peer.make(), os.urandom(12 * 1024 * 1024)
    cache.set("k", value, LONG)
    return cache.get("k") == value


def _away(peer: Peer) -> tuple[bool, int] | None:
    """Return whether a server that is away counts as an empty cache, and how often it was asked by 40 calls."""
    if "away" not in peer.variants:
        return None
    with dead_server() as (port, seen):
        cache = peer.make("away", LOCATION=peer.variants["away"]["LOCATION"].format(port=port))
        try:
            empty = cache.get("k") is None
        except Exception:
            return False, 0
        before = len(seen)
        for _ in range(40):
            cache.get("k")
        return empty, len(seen) - before


def counts_as_empty(peer: Peer) -> Answer:
    found = _away(peer)
    return found and found[0]


def circuit_breaker(peer: Peer) -> Answer:
    found = _away(peer)
    return found and found[0] and found[1] < 10
