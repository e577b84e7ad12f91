"""What the probes have in common.

A probe tries one feature of one backend. It returns whether the feature is there, or in words how; ``None`` where the
question does not arise. What a backend raises counts as no.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

Answer = bool | str | None

FORKS = 4
LONG = 1000


def wait_until(condition: Callable[[], object], seconds: float = 5.0) -> bool:
    """Return whether the condition has become true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def in_forks(work: Callable[[], object], number: int = FORKS) -> None:
    """Let forked processes do some work together; raise if it fails in one of them."""
    ready, go = os.pipe()
    children = []
    for _ in range(number):
        pid = os.fork()
        if not pid:
            status = 1
            with suppress(BaseException):
                os.close(go)
                os.read(ready, 1)  # until all are there
                work()
                status = 0
            os._exit(status)
        children.append(pid)
    os.close(ready)
    os.close(go)
    failed = [status for _, status in (os.waitpid(pid, 0) for pid in children) if status]
    if failed:
        raise RuntimeError("a process has failed")


class Unpickled:
    """Notes in which thread it was unpickled."""

    threads: list[int] = []

    def __reduce__(self) -> Any:
        return _unpickled, ()


def _unpickled() -> Unpickled:
    Unpickled.threads.append(threading.get_ident())
    return Unpickled()


@contextmanager
def dead_server() -> Iterator[tuple[int, list[int]]]:
    """Yield the port of a server that closes every connection, and a list that gets one entry for each."""
    seen: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    server.accept()[0].close()
                    seen.append(1)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], seen
        server.shutdown(socket.SHUT_RDWR)
