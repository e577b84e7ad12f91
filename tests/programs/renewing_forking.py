"""Run as a program: renew leases of an etcd server, given by its endpoint, in a thread while the process forks."""

from __future__ import annotations

import os
import sys
import threading

from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import Renewal


def main(endpoint: str) -> None:
    engine = EtcdEngine([endpoint], timeout=30)
    ids = [engine.lease_grant(60).id for _ in range(200)]
    answers: list[Renewal] = []
    calls = 0
    done = threading.Event()

    def renew() -> None:
        nonlocal calls
        while not done.is_set():
            calls += 1
            engine.lease_keep_alive_many(ids, answers.append)

    thread = threading.Thread(target=renew)
    thread.start()
    for _ in range(10):
        before = len(answers)
        while len(answers) < before + 250:
            done.wait(0.001)
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
    done.set()
    thread.join()
    engine.close()
    assert len(answers) == calls * len(ids)
    assert all(answer.ttl == 60 for answer in answers)
    print("renewed")


main(sys.argv[1])
