"""Real servers with the site of :mod:`tests.programs.cache_site`: starting one, putting load on it, looking at it."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.paths import ROOT
from tests.processes.site import alive, children_of, free_port, opened_by
from tests.waiting import wait_until

CLIENTS = 16
"""Requests under way at the same time."""

UWSGI = next((path for path in (Path(sys.executable).with_name("uwsgi"),) if path.exists()), None)
"""The program, if it is installed."""

_names = itertools.count()


@dataclass
class Server:
    """A running server; ``process`` is its first process, ``port`` where it listens."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    workers: int
    answered: dict[int, int] = field(default_factory=dict)
    """How many requests each process has answered."""

    @property
    def said(self) -> str:
        """What it has written to both of its outputs."""
        return self.log.read_text(errors="replace")

    def get(self, path: str, **arguments: Any) -> Any:
        """Return the answer to one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", f"/{path}?{urlencode(arguments)}", headers={"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        assert answer.status == 200, (body[-2000:], self.said[-3000:])
        return json.loads(body)

    def ready(self) -> bool:
        """Tell whether it answers."""
        assert self.process.poll() is None, self.said
        try:
            self.get("told")
        except (OSError, http.client.HTTPException):
            return False
        return True

    def load(self, path: str, requests: int) -> list[str]:
        """Send so many requests, ``CLIENTS`` at a time; return what the workers found wrong."""
        with ThreadPoolExecutor(CLIENTS) as threads:
            answers = list(threads.map(lambda _: self.get(path, name=f"name-{next(_names)}"), range(requests)))
        for answer in answers:
            self.answered[answer["pid"]] = self.answered.get(answer["pid"], 0) + 1
        return [wrong for answer in answers for wrong in answer["wrong"]]

    def load_all(self, path: str, requests: int) -> tuple[list[str], int]:
        """Put load on it until each worker has answered; return what was wrong, and how many requests there were."""
        wrong, sent, before = self.load(path, requests), requests, dict(self.answered)

        def all_answered() -> bool:
            nonlocal sent
            if len(self.answered) >= self.workers:
                return True
            wrong.extend(self.load(path, CLIENTS))
            sent += CLIENTS
            return False

        wait_until(all_answered, 60, f"an answer of each worker, not only {before}")
        return wrong, sent

    def made(self) -> dict[int, int]:
        """Return how many native clients of Aerospike each worker has made."""
        found: dict[int, int] = {}

        def all_told() -> bool:
            answer = self.get("told")
            found[answer["pid"]] = answer["made"]
            return len(found) >= self.workers

        wait_until(all_told, 60, "a word of each worker")
        return found

    def connections(self, port: int) -> dict[int, int]:
        """Return how many connections to ``port`` of this host each worker has."""
        return {pid: connections_of(pid, port) for pid in self.answered}

    def end(self, timeout: float = 90.0) -> int:
        """Ask it to end, and wait for that; return its exit code. All workers must be gone then."""
        workers = [*self.answered, *children_of(self.process.pid)]
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            for pid in (self.process.pid, *workers):  # with PYTHONFAULTHANDLER it tells where its threads are
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGABRT)
            raise AssertionError(f"still running after {timeout} s:\n{self.said[-6000:]}") from None
        wait_until(lambda: not any(map(alive, workers)), 5, "the end of the workers")
        return code


def connections_of(pid: int, port: int) -> int:
    """Return how many TCP connections to ``port`` a process has."""
    opened, count = opened_by(pid), 0
    for family in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{family}").read_text().splitlines()[1:]:
            _, _, remote, *_, inode = line.split()[:10]
            count += int(remote.rpartition(":")[2], 16) == port and f"socket:[{inode}]" in opened
    return count


@contextlib.contextmanager
def serving(
    directory: Path,
    command: list[str],
    *,
    location: str,
    kv: str = "mem:",
    workers: int = 1,
    preload: bool = False,
    options: dict[str, Any] | None = None,
    ready: bool = True,
) -> Iterator[Server]:
    """Run a server: ``{port}`` in ``command`` stands for a free port.

    ``preload``: its parent uses the cache first. ``ready``: wait until it answers.
    """
    port = free_port()
    directory.mkdir(exist_ok=True)
    log = directory / "log"
    environment = {
        **os.environ,
        "SITE_DIRECTORY": str(directory),
        "SITE_LOCATION": location,
        "SITE_KV": kv,
        "SITE_OPTIONS": json.dumps(options or {}),
        "SITE_USES_AT_IMPORT": "1" if preload else "0",
        "PYTHONPATH": str(ROOT),
        "PYTHONFAULTHANDLER": "1",
        "PYTHONUNBUFFERED": "1",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [part.format(port=port) for part in command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    server = Server(process, port, log, workers)
    try:
        if ready:
            wait_until(server.ready, 60, "the server")
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def gunicorn(*options: str) -> list[str]:
    """Return the command for gunicorn."""
    configured = str(ROOT / "tests/processes/project/gunicorn.conf.py")
    bound = ["--bind", "127.0.0.1:{port}", "--config", configured, "--graceful-timeout", "80"]
    return [sys.executable, "-m", "gunicorn", "tests.programs.cache_site", *bound, *options]


def uwsgi(*options: str) -> list[str]:
    """Return the command for uWSGI."""
    bound = ["--http-socket", "127.0.0.1:{port}", "--module", "tests.programs.cache_site"]
    return [str(UWSGI), *bound, "--need-app", "--die-on-term", "--disable-logging", *options]


def uvicorn(*options: str) -> list[str]:
    """Return the command for uvicorn."""
    quiet = ["--lifespan", "off", "--log-level", "warning"]
    return [
        sys.executable,
        "-m",
        "uvicorn",
        "tests.programs.cache_site:asynchronous",
        "--port",
        "{port}",
        *quiet,
        *options,
    ]
