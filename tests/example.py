"""A copy of the example project: set up, asked, and served by real processes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.paths import ROOT
from tests.waiting import wait_until

CITIES = 2000
BERLIN = 2950159
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Project:
    """A copy of the example project."""

    path: Path
    output: str = ""
    """What setting it up printed."""

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run Python with ``command`` in the project."""
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def manage(self, *arguments: str) -> str:
        """Run a management command that must succeed; return what it printed."""
        done = self.run("manage.py", *arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def script(self, source: str) -> Any:
        """Run Python code with Django set up and return the JSON that it prints last."""
        prelude = "import json, django; django.setup(); from django.test import Client\n"
        done = self.run("-c", prelude + source)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True, slots=True)
class Server:
    port: int

    def get(self, path: str, *, cookie: str = "") -> Answer:
        """Get a page over a new connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path, headers={"Connection": "close", "Cookie": cookie})
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read().decode())
        finally:
            connection.close()

    def names(self, query: str, **parameters: object) -> list[str]:
        """Search over the JSON and return the names found."""
        rest = "".join(f"&{name}={value}" for name, value in parameters.items())
        answer = self.get(f"/api/cities/?q={quote(query)}{rest}")
        assert answer.status == 200, answer.text
        return [city["name"] for city in answer.json["cities"]]


def environment(**extra: str) -> dict[str, str]:
    foreign = re.compile(r"(ETCDAERO|DJANGO|GUNICORN|PYTEST)_|(CACHE_URL|DATABASE_URL|WEB_CONCURRENCY|PYTHONWARNINGS)$")
    kept = {name: value for name, value in os.environ.items() if not foreign.match(name)}
    return {**kept, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "config.settings", **extra}


def copy_to(path: Path) -> Path:
    ignored = shutil.ignore_patterns(".etcdaero", "__pycache__")
    return Path(shutil.copytree(ROOT / "example_project", path, ignore=ignored))


@contextlib.contextmanager
def serving(project: Project, *command: str, **extra: str) -> Iterator[Server]:
    """Run a server on a free port (``{port}`` in the command and in the environment) until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = [part.format(port=port) for part in command]
    variables = {name: value.format(port=port) for name, value in extra.items()}
    log = project.path / f"server-{port}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=project.path, env=environment(**variables),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
        try:
            wait_until(lambda: listens(port) or process.poll() is not None, timeout=20.0, what=f"{command} listens")
            assert process.poll() is None, log.read_text()
            yield Server(port)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with contextlib.suppress(ProcessLookupError):  # whatever is left of its own session
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    empty = Project(copy_to(tmp_path_factory.mktemp("example") / "project"))
    output = empty.manage("demo", "--check", "--superuser", "--limit", str(CITIES))
    return Project(empty.path, output)


def versions(server: Server) -> dict[int, int]:
    """Ask often and at the same time; return the version each worker that answered serves, by pid."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(server.get, [f"/api/cities/{BERLIN}/"] * 24))
    return {answer.json["pid"]: answer.json["version"] for answer in answers if answer.status == 200}
