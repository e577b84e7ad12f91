"""Run as a program: acquire a lock, then answer each line of the input with what is known about it."""

from __future__ import annotations

import json
import sys

from django_etcdaero.keyvalue import KV, ops
from django_etcdaero.keyvalue.embedded import EmbeddedEngine


def main(path: str, name: str, ttl: int) -> None:
    kv = KV(EmbeddedEngine.file(path))
    lock = kv.lock(name, ttl=ttl)
    lock.acquire()
    print(json.dumps({"token": lock.token}), flush=True)
    for _ in sys.stdin:
        lost, held = lock.lost, lock.held
        guarded = kv.txn().when(lock.compare()).then(ops.put("guarded", "by a late holder")).commit().succeeded
        print(json.dumps({"lost": lost, "held": held, "guarded": guarded}), flush=True)


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
