"""Probes: ``get_or_set()``."""

from __future__ import annotations

import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from features.peers import Peer
from features.trying import LONG, Answer, in_forks, wait_until


def _loads(peer: Peer, together: Callable[[Callable[[], object]], None]) -> bool:
    with tempfile.TemporaryDirectory() as directory:

        def load() -> str:
            (Path(directory) / uuid.uuid4().hex).touch()
            time.sleep(0.4)
            return "value"

        def work() -> None:
            if cache.get_or_set("k", load, LONG) != "value":
                raise RuntimeError("another value")

        cache = peer.make("load")
        together(work)
        return len(list(Path(directory).iterdir())) == 1


def one_load_of_threads(peer: Peer) -> Answer:
    def together(work: Callable[[], object]) -> None:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return _loads(peer, together)


def one_load_of_processes(peer: Peer) -> Answer:
    return _loads(peer, in_forks)


def _stale(cache: Any, peer: Peer) -> dict[str, Any]:
    """Let there be a value that has expired; return the keywords with which ``get_or_set`` may give it."""
    extra = peer.keywords
    cache.get_or_set("k", lambda: "old", 1, **extra)
    time.sleep(1.1)
    return extra


def stale_on_failure(peer: Peer) -> Answer:
    cache = peer.make("stale")
    extra = _stale(cache, peer)
    loads: list[int] = []

    def load() -> str:
        loads.append(1)
        raise LookupError("the source is away")

    return _until_it_loads(lambda: cache.get_or_set("k", load, 1, **extra), loads) == "old"


def _until_it_loads(get: Callable[[], Any], loads: list[int]) -> Any:
    """Return what the first call returns that loads: who serves an old value may do so for a while."""
    for _ in range(2000):
        value = get()
        if loads:
            return value
    return None


def stale_while_loading(peer: Peer) -> Answer:
    cache, other = (peer.make("stale", KEY_PREFIX="stale") for _ in range(2))
    extra = _stale(cache, peer)
    loading, go_on, loads = threading.Event(), threading.Event(), []

    def load() -> str:
        loads.append(1)
        loading.set()
        go_on.wait(5)
        return "new"

    thread = threading.Thread(target=lambda: _until_it_loads(lambda: cache.get_or_set("k", load, LONG, **extra), loads))
    thread.start()
    try:
        return loading.wait(5) and other.get_or_set("k", lambda: "second load", LONG, **extra) == "old"
    finally:
        go_on.set()
        thread.join()


def soft_timeout(peer: Peer) -> Answer:
    cache = peer.make("stale")
    extra = {**_stale(cache, peer), "soft_timeout": 0.05}
    go_on = threading.Event()

    def load() -> str:
        go_on.wait(5)
        return "new"

    at_once = cache.get_or_set("k", load, LONG, **extra)
    go_on.set()
    return at_once == "old" and wait_until(lambda: cache.get("k") == "new")


def eager_refresh(peer: Peer) -> Answer:
    cache = peer.make("stale")
    here = threading.get_ident()
    loads: list[int] = []

    def load() -> int:
        loads.append(threading.get_ident())
        return len(loads)

    cache.get_or_set("k", load, 10, eager=0.01)
    time.sleep(0.2)
    cache.get_or_set("k", load, 10, eager=0.01)
    return wait_until(lambda: cache.get("k") == 2, 2) and loads[1] != here


def deletions_win(peer: Peer) -> Answer:
    cache, other = peer.make("load", KEY_PREFIX="win"), peer.make("load", KEY_PREFIX="win")
    other.delete("k")

    def load() -> str:
        thread = threading.Thread(target=lambda: other.delete("k"))
        thread.start()
        thread.join()
        return "from before the deletion"

    cache.get_or_set("k", load, LONG)
    return cache.get("k") is None
