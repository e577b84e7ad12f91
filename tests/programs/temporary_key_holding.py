"""Run as a program: hold a temporary key in a store given by its location, until the input ends or the process does.

For each line of the input it forks, and prints what the child makes of the key.
"""

from __future__ import annotations

import os
import sys

from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue import KV, Engine, TemporaryKey
from django_etcdaero.keyvalue.embedded import EmbeddedEngine


def connect(location: str) -> Engine:
    kind, _, place = location.partition(":")
    if kind == "sqlite":
        return EmbeddedEngine.file(place)
    from django_etcdaero.keyvalue.etcd import EtcdEngine

    return EtcdEngine([place])


def fork(kv: KV, held: TemporaryKey) -> str:
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        kv.abandon()
        alive = held.alive
        try:
            updated = str(held.update("the child's"))
        except EtcdAeroError as error:
            updated = type(error).__name__
        held.close()
        os.write(send, f"alive: {alive}, update: {updated}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(send)
    with open(receive) as answer:
        return f"{answer.read()}, parent alive: {held.alive}"


def main(location: str, key: str, ttl: int) -> None:
    engine = connect(location)
    kv = KV(engine)
    with kv.temporary_key(key, "theirs", ttl=ttl) as held:
        print("there", flush=True)
        for _ in sys.stdin:
            print(fork(kv, held), flush=True)
    print("closed", flush=True)
    kv.close()
    engine.close()


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
