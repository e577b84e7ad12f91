"""Processes that fork while their threads open and close stores of every kind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.keyvalue.etcd.servers import Server
from tests.paths import ROOT

FORKS = 200


@pytest.mark.slow
def test_children_use_stores_of_every_kind_whatever_threads_of_the_parent_open(
    shared_server: Server, tmp_path: Path
) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("w") as stdout, err.open("w") as stderr:  # no pipes: a child that hangs would keep them open
        # Python 3.12 and later warn of any fork while there are threads.
        command = [sys.executable, "-W", "ignore:This process", "-m", "tests.programs.opening_forking"]
        code = subprocess.call(
            [*command, str(tmp_path), str(FORKS), shared_server.endpoint],
            cwd=ROOT,
            stdout=stdout,
            stderr=stderr,
            timeout=220,
        )
    assert (code, err.read_text()) == (0, "")
    assert json.loads(out.read_text()) == {"children": [0] * FORKS, "errors": [], "running": 0}
