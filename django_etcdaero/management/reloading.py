"""``etcdaero_refresh --loop`` that begins anew when the code changes, as ``runserver`` does.

The command that was started only watches over a child, which runs the same command and does the work. The child looks
for changes as Django's autoreloader does. When there is one it gives its locks back and ends with the exit code
:data:`RELOAD`, and the next child is started: nothing of a load by old code becomes visible after that. A child that
cannot run the code that there is now ends as well; then the next one is started when a file changes.

SIGTERM and SIGINT are for the command that was started. It hands them on as SIGTERM, and waits for the end of the
child, which ignores what a terminal sends to both of them. Where it is killed the child ends by itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from django.utils import autoreload

from django_etcdaero.system.threads import Background

RELOAD = 3
"""The exit code by which a child asks for the next one."""

_PARENT = "ETCDAERO_RELOADING"
"""The variable of the environment that names the process which watches over a child."""
_LOOK_PAUSE = 0.5
"""Seconds between two looks at the files."""


def in_child() -> bool:
    """Tell whether this process is the child that does the work."""
    return os.environ.get(_PARENT) == str(os.getppid())


def work_until_changed() -> None:
    """Be the main thread of the child: return never, raise ``SystemExit`` with :data:`RELOAD` when code has changed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Background(_end_with_parent, name="etcdaero-parent").start()
    autoreload.start_django(autoreload.get_reloader(), lambda: None)


def _end_with_parent() -> None:
    """End this process as by SIGTERM when the one that watches over it was killed: nobody would end it any more."""
    while in_child():
        time.sleep(_LOOK_PAUSE)
    os.kill(os.getpid(), signal.SIGTERM)


class Watching:
    """The command that was started; ``tell`` gets what people should know."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._child: subprocess.Popen[bytes] | None = None
        self._told = False

    def run(self) -> int:
        """Run children until a signal or the end of one of them ends it; return the exit code."""
        before = {number: signal.signal(number, self._end) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            while True:
                before_child = _files()
                code = self._run_child()
                if self._told:
                    return code if code > 0 and code != RELOAD else 0
                if code < 0:
                    return 128 - code
                if code not in (0, RELOAD):
                    self._wait_for_change(code, before_child)
                if code == 0 or self._told:
                    return 0
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _run_child(self) -> int:
        environment = {**os.environ, _PARENT: str(os.getpid())}
        self._child = subprocess.Popen(autoreload.get_child_arguments(), env=environment, close_fds=False)
        if self._told:
            self._child.terminate()
        return self._child.wait()

    def _end(self, number: int, frame: object) -> None:
        self._told = True
        if self._child is not None:
            self._child.terminate()

    def _wait_for_change(self, code: int, before: dict[Path, float]) -> None:
        """Wait until the files are others than ``before`` the child, which may end long after it has read them."""
        self._tell(f"ended with exit code {code}; it begins anew when a file changes")
        while not self._told and _files() == before:
            time.sleep(_LOOK_PAUSE)


def _files() -> dict[Path, float]:
    """Return when each of the files was changed that this process has loaded."""
    return dict(autoreload.StatReloader().snapshot_files())
