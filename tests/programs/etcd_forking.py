"""Run as a program: fork again and again while watches, calls and a lease are at work, and print what happened.

Arguments: an endpoint, and how many forks.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest, WatchBatch, WatchHandle, WatchRequest
from tests.programs.forked import outcome


def child(inherited: EtcdEngine, handle: WatchHandle, endpoint: str, number: int) -> int:
    """What a worker does: finds that the parent's engine is closed to it, and uses one of its own."""
    try:
        inherited.range(RangeRequest(b"fork/a"))
    except EtcdAeroError:
        pass
    else:
        return 3
    handle.cancel()
    inherited.close()
    own = EtcdEngine([endpoint])
    seen = threading.Event()
    key = b"fork/child-%d" % number

    def sink(batch: WatchBatch) -> None:
        if batch.events:
            seen.set()

    own.watch(WatchRequest(key), sink)
    own.put(PutRequest(key, b"hello"))
    if own.range(RangeRequest(key)).kvs[0].value != b"hello":
        return 4
    if not seen.wait(10):
        return 5
    own.close()
    return 0


def main(endpoint: str, forks: int) -> None:
    engine = EtcdEngine([endpoint])
    revisions: list[int] = []
    handle = engine.watch(
        WatchRequest(b"fork/parent"), lambda batch: revisions.extend(event.kv.mod_revision for event in batch.events)
    )
    lease = engine.lease_grant(60).id
    stop = threading.Event()
    written: list[int] = []
    errors: list[str] = []

    def work() -> None:
        while not stop.is_set():
            try:
                engine.range(RangeRequest(b"fork/a"))
                written.append(engine.put(PutRequest(b"fork/parent")).revision)
                engine.lease_keep_alive(lease)
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    outcomes = []
    longest = 0.0
    for number in range(forks):
        counted = len(written)
        while len(written) < counted + 5 and not errors:
            time.sleep(0.001)
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            os._exit(child(engine, handle, endpoint, number))
        longest = max(longest, time.monotonic() - started)
        outcomes.append(outcome(pid))
    stop.set()
    for thread in threads:
        thread.join(10)
    limit = time.monotonic() + 10
    while len(revisions) < len(written) and time.monotonic() < limit:
        time.sleep(0.01)
    engine.close()
    result = {
        "children": outcomes,
        "errors": errors[:5],
        "seen": revisions == sorted(written),
        "longest_fork": longest,
        "threads": [thread.name for thread in threading.enumerate() if thread.name.startswith("etcdaero")],
    }
    print(json.dumps(result))


main(sys.argv[1], int(sys.argv[2]))
