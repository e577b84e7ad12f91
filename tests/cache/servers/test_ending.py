"""The end of a process whose store does not answer, or is gone: calls may take ten minutes, the end waits for none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cache.servers.conftest import Records
from tests.paths import ROOT


@pytest.mark.parametrize("how", ["idle", "busy", "gevent", "busy gevent"])
@pytest.mark.parametrize("fault", [signal.SIGSTOP, signal.SIGKILL])
def test_a_process_ends_without_its_store(records: Records, tmp_path: Path, how: str, fault: signal.Signals) -> None:
    if "gevent" in how:
        pytest.importorskip("gevent", reason="gevent is not installed")
    environment = {
        **os.environ,
        "SITE_DIRECTORY": str(tmp_path),
        "SITE_LOCATION": records.location,
        "SITE_KV": f"sqlite:///{tmp_path}/kv.sqlite3",
        "SITE_OPTIONS": json.dumps({"NEAR": {}, "CALL_TIMEOUT": 600}),
        "PYTHONFAULTHANDLER": "1",
    }
    command = [sys.executable, "-m", "tests.programs.cache_ending", *how.split()]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            records.process.send_signal(fault)
            output, errors = process.communicate("\n", timeout=60)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # it tells where its threads are
            raise AssertionError(process.communicate(timeout=30)[1]) from None
        finally:
            process.kill()
            records.process.send_signal(signal.SIGCONT)
    assert (process.returncode, output) == (0, "ending\n"), errors
    assert "Fatal Python error" not in errors
