"""Processes that contend for a name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Contending:
    """A process that contends for a lock or an election; it has opened its session."""

    def __init__(self, store: object, kind: str, name: str, *, ttl: int, value: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.programs.candidate", str(store), kind, name, str(ttl), value],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == {"ready": True}

    @property
    def pid(self) -> int:
        return self.process.pid

    def won(self) -> int:
        """Wait until it holds the name; return its token."""
        token: int = self._read()["token"]
        return token

    def holds(self) -> bool:
        """Ask it whether it holds the name still."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        held: bool = self._read()["held"]
        return held

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def end(self) -> None:
        """Let it give the name back."""
        self.process.communicate(timeout=30)

    def _read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


class Contenders:
    """Those of one test, which are gone at its end."""

    def __init__(self, store: object) -> None:
        self._store = store
        self._started: list[Contending] = []

    def start(self, kind: str, name: str, *, ttl: int, value: str = "") -> Contending:
        self._started.append(Contending(self._store, kind, name, ttl=ttl, value=value))
        return self._started[-1]

    def kill(self) -> None:
        for each in self._started:
            each.kill()
            each.process.communicate()


@contextmanager
def contenders(store: object) -> Iterator[Contenders]:
    """Start contenders on a store (path of a file, ``host:port``), and kill what is left of them."""
    started = Contenders(store)
    try:
        yield started
    finally:
        started.kill()
