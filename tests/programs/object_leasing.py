"""Run as a program: fork while an object is leased and another thread is using it, and print what the child sees."""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import dataclass

from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.embedded import EmbeddedEngine


@dataclass(frozen=True)
class Worker:
    host: str


def main(path: str) -> None:
    engine = EmbeddedEngine.file(path)
    kv = KV(engine)
    workers = kv.objects(Worker, "workers")
    leased = workers.leased("1", Worker("a"), ttl=30)
    holding, done = threading.Event(), threading.Event()

    def hold() -> None:  # as another thread of the parent may at the moment of the fork
        with leased._mutex:
            holding.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    holding.wait(30)
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        kv.abandon()
        leased.on_end(print)
        seen = [leased.state.value, leased.wait(30).value]
        leased.cancel()
        os.write(send, json.dumps(seen).encode())
        os._exit(0)
    done.set()
    holder.join()
    os.waitpid(child, 0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        in_child = json.load(pipe)
    print(json.dumps({"child": in_child, "parent": leased.state.value, "stored": workers.exists("1")}))
    leased.cancel()
    kv.close()
    engine.close()


main(sys.argv[1])
