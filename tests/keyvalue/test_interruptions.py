"""A signal handler that raises in the main thread, wherever that is inside of a call, stops nothing but that call.

Celery's soft time limit does that, Ctrl-C in a shell, decorators that set a time limit. gRPC leaves locks taken then.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.keyvalue.etcd.servers import Server
from tests.paths import ROOT

HITS = 80


def interrupt(store: str, *options: str, seed: int) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    done = subprocess.run(
        # A coroutine that was made, and interrupted before its first step, is no fault; nor are forks beside threads.
        [
            *(sys.executable, "-W", "ignore:coroutine", "-W", "ignore:This process"),
            *("-m", "tests.programs.interrupted_calls", store, str(HITS), str(seed), *options),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def check(told: dict[str, Any]) -> None:
    assert told.pop("interruptions") >= HITS
    assert told == {"errors": [], "wrong order": [], "lease": True, "temporary key": "last"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_calls_to_etcd_may_be_interrupted_anywhere(server: Server, seed: int) -> None:
    check(interrupt(server.endpoint, seed=seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_calls_to_a_file_may_be_interrupted_anywhere(path: Path, seed: int) -> None:
    path.parent.mkdir(exist_ok=True)
    check(interrupt(str(path), seed=seed))
