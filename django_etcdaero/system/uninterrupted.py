"""Calls into C that run code of Python inside, which handlers of signals must not interrupt.

Python runs handlers in the main thread, between any two steps of Python code. Where a library in C calls such code and
does not look whether it raised (the client of Aerospike makes objects of Python of what a batch has found), what a
handler raises becomes a ``SystemError``, or the process ends with a segmentation fault.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import TypeVar

from .threads import wait

T = TypeVar("T")


def uninterrupted(call: Callable[[], T]) -> T:
    """Return ``call()``. In the main thread it is made in another one, so that handlers run while this one waits.

    What a handler raises is raised when the call has ended: nothing else can end it, and whoever ends the process must
    not do so in the middle of it. One more signal does not wait for that.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    answer: list[T] = []
    raised: list[BaseException] = []
    ended = threading.Event()  # a join that an exception has ended may say afterwards that the thread has, too
    claim = threading.Lock()
    """Taken by the thread when it begins, or by who gives up before that."""

    def make() -> None:
        if not claim.acquire(blocking=False):
            return
        try:
            answer.append(call())
        except BaseException as error:
            raised.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=make, name="etcdaero-call", daemon=True)
    try:
        try:
            thread.start()
        except RuntimeError:  # no thread to be had, or the interpreter ends
            return call()
        wait(ended, math.inf)
    except BaseException:
        if not claim.acquire(blocking=False):
            wait(ended, math.inf)
        raise
    if raised:
        raise raised.pop()
    return answer[0]


def raised_inside(error: SystemError) -> BaseException:
    """Return what was raised inside a function in C that returned a result all the same; else ``error`` itself."""
    return error.__cause__ or error
