"""Run as a program: fork while a lock, a lease and a watch are held, and print what child and parent see of them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from typing import Any

from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.embedded import EmbeddedEngine


def outcome(call: Any) -> str:
    try:
        call()
    except EtcdAeroError as error:
        return type(error).__name__
    return "done"


def main(path: str) -> None:
    engine = EmbeddedEngine.file(path)
    kv = KV(engine)
    lock = kv.lock("L", ttl=30)
    lock.acquire()
    lease = kv.session(30).lease
    asyncio.run(kv.aput("a", "1"))
    watch = kv.watch("a")
    holding, done = threading.Event(), threading.Event()

    def hold_everything() -> None:  # as another thread of the parent may at the moment of the fork
        with (
            kv.life._mutex,
            lease._mutex,
            lock._mutex,
            watch._feed.changed.lock,
            kv.renewal.worker._changed,
            kv.chores._changed,
        ):
            holding.set()
            done.wait(30)

    holder = threading.Thread(target=hold_everything)
    holder.start()
    assert holding.wait(30)
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        kv.abandon()
        seen: dict[str, object] = {
            "lease": ["lost" if lease.lost else "kept", "alive" if lease.alive else "not alive"],
            "lock": ["lost" if lock.lost else "kept", "held" if lock.held else "not held"],
            "release": outcome(lock.release),
            "get": outcome(lambda: kv.get("a")),
            "aget": outcome(lambda: asyncio.run(kv.aget("a"))),
            "acquire": outcome(lambda: kv.lock("M").acquire(1)),
            "watch": "going" if list(watch) else "ended",
        }
        lease.revoke()
        watch.cancel()
        kv.close()
        engine = EmbeddedEngine.file(path)
        found = asyncio.run(KV(engine).aget("a"))
        seen["its own"] = found is not None and found.value.decode()
        engine.close()
        os.write(send, json.dumps(seen).encode())
        os._exit(0)
    done.set()
    holder.join()
    os.waitpid(child, 0)
    both = {
        "child": json.loads(os.read(receive, 10_000)),
        "parent": {
            "aget": outcome(lambda: asyncio.run(kv.aget("a"))),
            "held": lock.held,
            "lost": lock.lost,
            "keys": len(kv.range("L/", prefix=True).kvs),
        },
    }
    print(json.dumps(both))
    kv.close()
    engine.close()


main(sys.argv[1])
