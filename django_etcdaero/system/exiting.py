"""The end of a program by SIGTERM or Ctrl-C, whatever its threads are doing.

The signal becomes ``SystemExit`` in the main thread, so that locks are given back on the way out. The way out may be
long: ``with ThreadPoolExecutor()`` waits for its threads, and Python waits for all of them before a process ends, also
for those that have been abandoned. So a process that is the program's own is ended after a while.

Children that are forked meanwhile end by these signals at once, as programs do by default, for instance when a
``multiprocessing.Pool`` terminates its workers. Python forgets what signals arrive between a fork and its hooks in the
child, and a pool waits for ever for a worker that has missed its SIGTERM. So they are held back around each fork.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from django_etcdaero.system.threads import Background

from .clocks import monotonic

PATIENCE = 3.0
"""Seconds from the signal until the process is ended: enough for exit handlers that send something."""
CLOSING = 5.0
"""Longest time in seconds that closing may then take."""

_SIGNAL_AGAIN = 0.25
"""Seconds after which the main thread is signalled again, if it has not been told by then."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class exit_on_signals:  # noqa: N801 - used as a function
    """Turn SIGTERM and SIGINT into ``SystemExit`` while the block runs.

    ``own_process``: the process is there for the block only, and may be ended after a signal, with exit code ``code``
    (``None``: 128 and the signal's number, as that of the ``SystemExit``). ``close`` is called before that, in a thread
    of its own, for what others would miss, such as locks that are held.
    """

    def __init__(
        self, *, own_process: bool, code: int | None = None, close: Callable[[], object] | None = None
    ) -> None:
        self._own_process = own_process
        self._code = code
        self._close = close
        self._pid = os.getpid()
        self._before: dict[int, Any] = {}
        self._seen = False  # the main thread has been told
        self._watcher = Background(self._end, name="etcdaero-exiting")
        self._signals = self._wakeup = self._spare = self._null = self._wakeup_before = -1

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        if self._own_process:
            self._listen()
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._exit)
        _forks.enter(self)
        return self

    def end_soon(self, code: int) -> None:
        """Let the process, if it may be ended, end with ``code`` in some seconds at the latest, as after a signal."""
        self._code, self._seen = code, True
        if self._wakeup >= 0:
            os.write(self._wakeup, bytes((signal.SIGTERM,)))

    def __exit__(self, *exc_info: object) -> None:
        _forks.leave(self)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._wakeup >= 0 and os.getpid() == self._pid:
            signal.set_wakeup_fd(self._wakeup_before)
            wakeup, self._wakeup = self._wakeup, -1
            for descriptor in (wakeup, self._spare, self._null):
                os.close(descriptor)  # ends the watcher; after a signal it stays, also while Python ends

    def _listen(self) -> None:
        """Have Python write down each signal at once: its handlers wait for the main thread, which may be blocked."""
        self._signals, self._wakeup = os.pipe()
        os.set_blocking(self._wakeup, False)
        self._spare, self._null = os.dup(self._wakeup), os.open(os.devnull, os.O_WRONLY)
        self._watcher.start()
        self._wakeup_before = signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)

    # What a child is told, from its first moment on, must not reach the watcher of the parent.

    def before_fork(self) -> None:
        """Be called in the thread that forks."""
        if self._wakeup >= 0:
            os.dup2(self._null, self._wakeup, inheritable=False)

    def after_in_parent(self) -> None:
        """Be called in the thread that forked."""
        if self._wakeup >= 0:
            os.dup2(self._spare, self._wakeup, inheritable=False)

    def _exit(self, number: int, frame: object) -> None:
        if self._own_process and self._seen:
            return  # on the way out already, which the watcher sees to
        self._seen = True
        raise SystemExit(128 + number)

    def _end(self) -> None:
        """Be the thread that ends the process if it is still there some seconds after a signal."""
        main, number = threading.main_thread().ident, 0
        assert main is not None
        while number not in _SIGNALS:
            told = os.read(self._signals, 1)
            if not told:
                os.close(self._signals)
                return
            number = told[0]
        limit = monotonic() + PATIENCE
        while (left := limit - monotonic()) > 0:
            time.sleep(min(left, _SIGNAL_AGAIN))
            if not self._seen:  # it was about to block when the signal came: this one interrupts it
                signal.pthread_kill(main, number)
        try:
            closing = Background(self._clean_up, name="etcdaero-closing")
            closing.start()
            closing.join(CLOSING)
        finally:
            os._exit(128 + number if self._code is None else self._code)

    def _clean_up(self) -> None:
        """Close, end child processes, and write what is buffered. Any of it may wait for a thread that hangs."""
        if self._close is not None:
            self._close()
        for child in multiprocessing.active_children():
            child.terminate()
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()


class _Forks:
    """What happens to the blocks that are open at a fork. Hooks cannot be unregistered, so there is one set for all."""

    def __init__(self) -> None:
        self._open: list[exit_on_signals] = []
        self._masks: dict[int, set[int]] = {}
        """The signals that were blocked before the fork, by thread that forks."""
        self._hooked = False

    def enter(self, block: exit_on_signals) -> None:
        if not self._hooked:
            self._hooked = True
            os.register_at_fork(
                before=self._before, after_in_parent=self._after_in_parent, after_in_child=self._after_in_child
            )
        self._open.append(block)

    def leave(self, block: exit_on_signals) -> None:
        if block in self._open:
            self._open.remove(block)

    def _before(self) -> None:
        if self._open:
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
            self._masks[threading.get_ident()] = {int(each) for each in blocked}
            for block in tuple(self._open):
                block.before_fork()

    def _after_in_parent(self) -> None:
        if threading.get_ident() in self._masks:
            for block in tuple(self._open):
                block.after_in_parent()
            self._unblock()

    def _after_in_child(self) -> None:
        if threading.get_ident() in self._masks:
            self._open.clear()
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            self._unblock()
        self._masks.clear()  # of other threads of the parent

    def _unblock(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.pop(threading.get_ident()))


_forks = _Forks()
