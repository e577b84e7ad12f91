"""Run as a program: prints what comes of a named piece of work in a process whose threads gevent has patched."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

from django_etcdaero.system import gevent_pool  # noqa: E402

wait_in_c: Callable[[float], None] = monkey.get_original("time", "sleep")


def lets_others_run() -> Any:
    """Wait for another greenlet in a way that gevent does not know of."""
    native = monkey.get_original("threading", "Event")()
    greenlet = gevent.spawn(native.set)
    answer = gevent_pool.blocking(lambda: bool(native.wait(30)))
    greenlet.join()
    return answer


def raises() -> Any:
    def fail() -> None:
        raise LookupError("of the call")

    try:
        gevent_pool.blocking(fail)
    except LookupError as error:
        return str(error)
    return None


def killed() -> Any:
    """Kill a greenlet that waits for a call; tell whether the call had ended when the greenlet had."""
    began, ended = threading.Event(), []

    def call() -> None:
        loop.async_send()
        wait_in_c(0.2)
        ended.append(True)

    class Loop:
        def __init__(self) -> None:
            self.watcher = gevent.get_hub().loop.async_()
            self.watcher.start(began.set)

        def async_send(self) -> None:
            self.watcher.send()

    loop = Loop()
    greenlet = gevent.spawn(gevent_pool.blocking, call)
    began.wait(30)
    greenlet.kill()
    return [ended, greenlet.dead]


def in_a_thread_of_gevents() -> Any:
    return gevent.get_hub().threadpool.apply(lambda: gevent_pool.blocking(lambda: "answer"))


def many() -> Any:
    jobs = [gevent.spawn(gevent_pool.blocking, lambda number=number: number) for number in range(200)]
    gevent.joinall(jobs)
    return sum(job.value for job in jobs)


def etcd(endpoint: str) -> Any:
    """Use a client of etcd in several greenlets, with a watch and a lock; tell what came of it."""
    from django_etcdaero import schemes
    from django_etcdaero.keyvalue import KV
    from django_etcdaero.stores.address import Plane

    engine = schemes.open_engine(schemes.parse(f"etcd://{endpoint}", plane=Plane.KV), timeout=30)
    kv = KV(engine, prefix="gevent/")
    seen = threading.Event()
    kv.watch("counted", prefix=True, callback=lambda item: seen.set())
    wrong: list[str] = []

    def use(number: int) -> None:
        for step in range(20):
            kv.put(f"key-{number}", f"{number}-{step}")
            found = kv.get(f"key-{number}")
            if found is None or found.value != f"{number}-{step}".encode():
                wrong.append(f"{number}-{step}: {found}")
        with kv.lock("lock"):
            kv.put("counted", str(number))

    gevent.joinall([gevent.spawn(use, number) for number in range(8)], raise_error=True)
    told = seen.wait(30)
    kv.close()
    engine.close()
    return [wrong, told]


WORK: dict[str, Callable[..., Any]] = {
    each.__name__: each for each in (lets_others_run, raises, killed, in_a_thread_of_gevents, many, etcd)
}

if __name__ == "__main__":
    print(json.dumps(WORK[sys.argv[1]](*sys.argv[2:])))
