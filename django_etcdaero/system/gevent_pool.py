"""Under gevent: calls that block in C are made in threads of a pool, or they would stop every greenlet of the process.

gevent's patches make greenlets of threads and let them wait without blocking each other, as long as they wait in
Python. A client that waits in C, as that of Aerospike does, knows nothing of this. gevent is not imported here: where
nobody has patched anything this costs one look at what is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

SIZE = 16
"""Threads at most, of all stores of the process together."""

_pool: tuple[int, Any] | None = None
"""The process that made it, and the pool."""


def patched() -> bool:
    """Tell whether gevent has replaced the threads of this process by greenlets."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def may_patch() -> bool:
    """Tell whether gevent is here and has replaced no threads yet. gunicorn's workers let it do so after the fork.

    A thread that starts before is a real one for ever, and shares locks with greenlets that are not made for both.
    """
    return "gevent" in sys.modules and not patched()


def blocking(call: Callable[[], T]) -> T:
    """Return ``call()``, made in a thread of the pool where gevent has patched threads, and here elsewhere.

    A greenlet that is killed meanwhile waits for the end of the call: nothing else can end it.
    """
    if not patched():
        return call()
    from gevent import get_hub
    from gevent.threadpool import ThreadPool

    if not get_hub().main_hub:
        return call()  # in a thread that really is one, which stops nobody
    global _pool
    if _pool is None or _pool[0] != os.getpid():
        _pool = os.getpid(), ThreadPool(SIZE)
    answer: list[T] = []
    raised: list[BaseException] = []  # what leaves the thread by itself is printed by gevent

    def make() -> None:
        try:
            answer.append(call())
        except BaseException as error:
            raised.append(error)

    task = _pool[1].spawn(make)
    try:
        task.get()
    except BaseException:
        task.wait()
        raise
    if raised:
        raise raised.pop()
    return answer[0]
