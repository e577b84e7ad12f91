"""Calls that take no deadline, each on a thread of its own, so that waiting for them can have one.

Looking up a host name is one: the system's resolver takes as long as it likes. Making the native client is another,
which looks up the names of all hosts once more.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

T = TypeVar("T")


class Detached:
    """Calls by name, one of each name at a time. For one caller at a time.

    A thread ends with its call, which nothing can stop; so it is never joined, and may outlive all who waited for it.
    """

    def __init__(self) -> None:
        self._under_way: dict[str, Future[Any]] = {}

    def result(self, name: str, call: Callable[[], T], seconds: float) -> T:
        """Return what ``call`` returns or raise what it raises.

        ``TimeoutError`` after ``seconds``: it goes on then, and the next to ask for ``name`` gets its result.
        """
        future = self._under_way.get(name)
        if future is None:
            future = Future()
            threading.Thread(target=_run, args=(call, future), name=f"etcdaero-{name}", daemon=True).start()
            self._under_way[name] = future
        if not wait([future], max(seconds, 0.0)).done:
            raise TimeoutError(name)
        del self._under_way[name]
        result: T = future.result()
        return result

    def when_late(self, name: str, do: Callable[[Any], object]) -> None:
        """Call ``do`` with what the call ``name`` returns, if one is under way; nobody gets it then."""
        future = self._under_way.pop(name, None)
        if future is not None:
            future.add_done_callback(lambda late: None if late.exception() else do(late.result()))

    def leak(self) -> None:
        """Keep all results from ever being destroyed. For the child of a fork."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._under_way))


def _run(call: Callable[[], T], future: Future[T]) -> None:
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
