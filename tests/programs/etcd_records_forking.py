"""Run as a program: fork again and again while threads use a record store on etcd, and print what became of it.

The argument is an endpoint. The store and another one share the engine, as those of an alias on one etcd do.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.records.etcd import EtcdStore
from tests.programs.forked import outcome

FORKS = 10
ROOM = "forking/records/"


def child(inherited: EtcdStore, endpoint: str, number: int) -> int:
    """What a worker does: finds that its parent's store is closed to it, and uses one of its own."""
    try:
        inherited.get(b"n")
    except ConfigurationError:
        pass
    else:
        return 3
    inherited.abandon()
    inherited.close()
    own = EtcdStore(EtcdEngine([endpoint]), ROOM)
    own.put(b"child-%d" % number, b"v", ttl=60)
    if own.get(b"child-%d" % number) is None or own.increment(b"children", 1) < 1:
        return 4
    own.close()
    return 0


def main(endpoint: str) -> None:
    engine = EtcdEngine([endpoint])
    store = EtcdStore(engine, ROOM, owned=False)
    store.truncate()
    store.put_many({b"n": 0, b"children": 0})
    stop = threading.Event()
    done: list[int] = []
    errors: list[str] = []

    def work() -> None:
        while not stop.is_set():
            try:
                done.append(store.increment(b"n", 1))
                store.put_many({b"a": b"v", b"b": b"v"}, ttl=60)
                store.get_many([b"a", b"b"])
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    outcomes = []
    for number in range(FORKS):
        counted = len(done)
        while len(done) < counted + 3 and not errors:
            time.sleep(0.001)
        pid = os.fork()
        if pid == 0:
            os._exit(child(store, endpoint, number))
        outcomes.append(outcome(pid))
    stop.set()
    for thread in threads:
        thread.join(10)
    found = store.get_many([b"n", b"children"])
    sums = {key: record.value for key, record in found.items()}
    engine.close()
    right = sums == {b"n": len(done), b"children": FORKS}
    print(json.dumps({"children": outcomes, "errors": errors[:5], "sum": right}))


main(sys.argv[1])
