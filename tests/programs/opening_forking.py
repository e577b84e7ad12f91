"""Run as a program: fork again and again while threads open and close stores, and print what became of the children.

Arguments: a directory, how many forks, and the endpoint of an etcd server, or nothing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory
from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest, WatchRequest
from tests.programs.forked import outcome

KINDS: dict[str, Callable[[str], Engine]] = {}


def use(kind: str, name: bytes) -> None:
    """Open a store, use it, and close it."""
    engine = KINDS[kind](f"opening-{threading.get_ident()}")
    try:
        key = b"opening/" + name
        engine.put(PutRequest(key, b"hello"))
        assert engine.range(RangeRequest(key)).kvs[0].value == b"hello"
        if name.endswith(b"0"):
            engine.watch(WatchRequest(key), lambda batch: None)
    finally:
        engine.close()
    if kind == "memory":
        drop_memory(f"opening-{threading.get_ident()}")


def child() -> None:
    code = 1
    try:
        for kind in KINDS:
            use(kind, b"child-%d" % os.getpid())
        code = 0
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)


def fork(number: int) -> int | str:
    """Have a child by one of the ways that run hooks; every tenth time also by the one that does not."""
    if number % 10 == 0:
        subprocess.run([sys.executable, "-S", "-c", ""], check=True, timeout=60)
    if number % 2:
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        assert process.pid is not None
        return outcome(process.pid)
    pid = os.fork()
    if pid == 0:
        child()
    return outcome(pid)


def main(directory: str, forks: int, endpoint: str | None) -> None:
    KINDS["memory"] = EmbeddedEngine.memory
    KINDS["file"] = lambda _: EmbeddedEngine.file(Path(directory, "opening.db"), busy_timeout=20)
    if endpoint:
        KINDS["etcd"] = lambda _: EtcdEngine([endpoint], timeout=20)
    opened = dict.fromkeys(KINDS, 0)
    errors: list[str] = []
    stop = threading.Event()

    def work(kind: str) -> None:
        while not stop.is_set():
            try:
                use(kind, b"%d" % opened[kind])
                opened[kind] += 1
            except Exception as error:
                errors.append(f"{kind}: {type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=(kind,)) for kind in KINDS for _ in range(2)]
    for thread in threads:
        thread.start()
    outcomes: list[int | str] = []
    for number in range(forks):
        before = dict(opened)
        while any(opened[kind] == before[kind] for kind in KINDS) and not errors:
            time.sleep(0.001)
        outcomes.append(fork(number))
    stop.set()
    for thread in threads:
        thread.join(30)
    print(
        json.dumps(
            {"children": outcomes, "errors": errors[:5], "running": sum(map(threading.Thread.is_alive, threads))}
        )
    )


main(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
