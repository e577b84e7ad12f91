"""Run as a program: contend for a name, tell each step as a line of JSON, and end with the input.

The arguments are the store (the path of a file, or ``host:port`` of an etcd), what to contend for, a name, a ttl and a
value (for elections).
"""

from __future__ import annotations

import json
import sys

from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.engine import Engine


def open_engine(store: str) -> Engine:
    if store.startswith("/"):
        return EmbeddedEngine.file(store)
    from django_etcdaero.keyvalue.etcd import EtcdEngine

    return EtcdEngine([store])


def main(store: str, kind: str, name: str, ttl: int, value: str) -> None:
    kv = KV(open_engine(store))
    kv.session(ttl)
    print(json.dumps({"ready": True}), flush=True)
    if kind != "election":
        rwlock = kv.rwlock(name, ttl=ttl)
        makers = {"semaphore": lambda: kv.semaphore(name, 2, ttl=ttl), "read": rwlock.read, "write": rwlock.write}
        lock = makers.get(kind, lambda: kv.lock(name, ttl=ttl))()
        lock.acquire()
        print(json.dumps({"token": lock.token}), flush=True)
        for _ in sys.stdin:
            print(json.dumps({"held": lock.held}), flush=True)
        lock.release()
    else:
        election = kv.election(name, ttl=ttl, value=value)
        election.campaign()
        print(json.dumps({"token": election.token}), flush=True)
        for _ in sys.stdin:
            print(json.dumps({"held": election.is_leader}), flush=True)
        election.resign()
    kv.close()


main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
