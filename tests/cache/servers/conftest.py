"""Stores for whole servers: a stand-in for Aerospike as a process, which can be stopped."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cache.servers.serving import UWSGI
from tests.paths import ROOT

_left_out: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here not in item.path.parents:
            continue
        item.add_marker(pytest.mark.slow)
        if UWSGI is None and item.path.name == "test_uwsgi.py":
            _left_out.append(item.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _left_out:
        terminalreporter.section("NOT TESTED under uWSGI, which is not installed (it has no wheels)", "!")
        for node in _left_out:
            terminalreporter.line(node)


class Records:
    """A record server of its own, with the URL of a set in it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        self.process = process
        self.location = f"aerospike://{address}/cache"
        self.port = int(address.partition("/")[0].rpartition(":")[2])


@pytest.fixture
def records() -> Iterator[Records]:
    command = [sys.executable, "-m", "tests.records.aerospike.standin", "--port", "0", "--namespace", "test"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        yield Records(process)
        process.kill()
