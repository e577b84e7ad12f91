"""Calls into C that run code of Python inside, which handlers of signals must not interrupt.

Python runs handlers in the main thread, between any two steps of Python code. Where a library in C calls such code and
does not look whether it raised (the client of Aerospike makes objects of Python of what a batch has found), what a
handler raises becomes a ``SystemError``, or the process ends with a segmentation fault.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from .conditions import Flag
from .threads import Background, wait

T = TypeVar("T")

LINGER = 1.0
"""Seconds that the thread waits for another call before it ends: to start one for each would cost more than a call."""


class _Caller:
    """The thread in which calls of the main thread of one process are made, one after the other."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lock = threading.Lock()
        """Held while it is decided whether the thread runs."""
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread = Background(self._serve, name="etcdaero-call")
        self._leaving = False

    def make(self, call: Callable[[], None]) -> bool:
        """Let ``call`` be made; return false if there is no thread to be had."""
        with self._lock:
            self._calls.put(call)
            if self._leaving or not self._thread.alive:
                self._thread, self._leaving = Background(self._serve, name="etcdaero-call"), False
                try:
                    self._thread.start()
                except RuntimeError:
                    return False
            return self._thread.alive  # it is not started any more when the interpreter ends

    def _serve(self) -> None:
        while True:
            try:
                call = self._calls.get(timeout=LINGER)
            except Empty:
                with self._lock:
                    if self._calls.empty():
                        self._leaving = True
                        return
            else:
                call()
                del call  # what it holds is let go


_caller: _Caller | None = None


def _of_this_process() -> _Caller:
    global _caller
    if _caller is None or _caller.pid != os.getpid():
        _caller = _Caller()
    return _caller


def uninterrupted(call: Callable[[], T]) -> T:
    """Return ``call()``. In the main thread it is made in another one, so that handlers run while this one waits.

    What a handler raises is raised when the call has ended: nothing else can end it, and whoever ends the process must
    not do so in the middle of it. One more signal does not wait for that.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    answer: list[T] = []
    raised: list[BaseException] = []
    ended = Flag()
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

    try:
        made = _of_this_process().make(make) or not claim.acquire(blocking=False)
        if made:
            wait(ended, math.inf)
    except BaseException:
        if not claim.acquire(blocking=False):
            wait(ended, math.inf)
        raise
    if not made:
        return call()
    if raised:
        raise raised.pop()
    return answer[0]


def raised_inside(error: SystemError) -> BaseException:
    """Return what was raised inside a function in C that returned a result all the same; else ``error`` itself."""
    return error.__cause__ or error
