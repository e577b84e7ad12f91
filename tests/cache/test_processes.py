"""Threads and forked processes that use one cache at the same time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.cache.conftest import LOCATIONS, SHARED
from tests.paths import ROOT


@pytest.fixture(params=SHARED)
def shared(request: pytest.FixtureRequest) -> Iterator[str]:
    """A location that several processes can share."""
    yield from LOCATIONS[request.param](request)


@pytest.mark.slow
def test_forked_processes_with_threads(shared: str) -> None:
    # On etcd each step is a transaction against all others: fewer of them.
    children, threads, steps = (3, 2, 10) if shared.startswith("etcd") else (8, 4, 10)
    ended = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "tests.programs.cache_forking",
            shared,
            *map(str, (children, threads, steps)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert [answer.get("error") or answer["wrong"] for answer in told["answers"]] == [[]] * children
    assert told["count"] == children * threads * steps
    assert told["after"] == 1
    assert sum(answer["loads"] for answer in told["answers"]) == 1
    assert {value for answer in told["answers"] for value in answer["loaded"]} == {42}
    # Each counts from its own start: what the parent did before the fork is not in it.
    assert all(answer["hits"] >= threads * steps for answer in told["answers"])
