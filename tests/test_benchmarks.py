"""The benchmarks that check something are run, small, so that they work when somebody wants their figures."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.keyvalue.conftest import ETCD
from tests.paths import ROOT

pytestmark = pytest.mark.slow

BENCHMARKS = ROOT / "benchmarks"


@pytest.mark.parametrize("store", ["sqlite", ETCD])
def test_every_watcher_is_told_of_every_put_once(
    store: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if store == "etcd":
        monkeypatch.setenv("BENCHMARK_KV", f"etcd://{request.getfixturevalue('server').endpoint}")
    done = subprocess.run(
        [sys.executable, "-W", "error", "watchers.py", "--watchers=10", "--puts=50", "--rate=0"],
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"50 puts .* 500 events", done.stdout)
    assert "missing or double: 0, resyncs: 0" in done.stdout
