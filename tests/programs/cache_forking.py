"""Run as a program: use a cache, fork while threads use it, and print what the children did and saw.

Arguments: the location, the number of children, of threads in each, and of steps of each thread.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from typing import Any

import django
from django.conf import settings


def main(location: str, children: int, threads: int, steps: int) -> None:
    settings.configure(
        SECRET_KEY="only for tests",
        CACHES={
            "default": {
                "BACKEND": "django_etcdaero.cache.EtcdAeroCache",
                "LOCATION": location,
                "TIMEOUT": 600,
                "OPTIONS": {"CALL_TIMEOUT": 60},
            }
        },
    )
    django.setup()
    from django.core.cache import cache

    cache.set("inherited", {"by": "all"})
    cache.set("count", 0)
    assert cache.get("inherited") == {"by": "all"}
    stop = threading.Event()

    def keep_using() -> None:  # a thread of the parent that is inside calls when the process forks
        while not stop.is_set():
            cache.get("inherited")
            cache.set("parent", 1)

    user = threading.Thread(target=keep_using)
    user.start()
    pipes = []
    for number in range(children):
        receive, send = os.pipe()
        pid = os.fork()
        if pid == 0:
            answer: dict[str, Any] = {"error": "nothing was done"}
            try:
                answer = child(number, threads, steps)
            except BaseException:
                answer = {"error": traceback.format_exc()}
            os.write(send, json.dumps(answer).encode())
            os.close(send)
            os._exit(0)
        os.close(send)
        pipes.append((pid, receive))
    answers = []
    for pid, receive in pipes:
        with os.fdopen(receive) as pipe:
            answers.append(json.loads(pipe.read()))
        os.waitpid(pid, 0)
    stop.set()
    user.join()
    cache.set("after", 1)
    print(json.dumps({"answers": answers, "count": cache.get("count"), "after": cache.get("after")}))


def child(number: int, threads: int, steps: int) -> dict[str, Any]:
    from django.core.cache import caches

    wrong: list[str] = []
    loads: list[int] = []
    loaded: list[Any] = []

    def load() -> int:
        loads.append(number)
        time.sleep(0.3)
        return 42

    def work(thread: int) -> None:
        try:
            cache = caches["default"]
            name = f"{number}-{thread}"
            for step in range(steps):
                cache.incr("count")
                cache.set(name, {"step": step, "text": name * 20})
                found = cache.get(name)
                if found != {"step": step, "text": name * 20}:
                    wrong.append(f"{name} has {found!r}")
                if cache.get("inherited") != {"by": "all"}:
                    wrong.append("inherited is not what it was")
            loaded.append(cache.get_or_set("loaded", load, 600))
        except BaseException:
            wrong.append(traceback.format_exc())

    workers = [threading.Thread(target=work, args=(each,)) for each in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {
        "wrong": wrong[:3],
        "loads": len(loads),
        "loaded": sorted(set(loaded)),
        "hits": caches["default"].stats()["hits"],
    }


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
