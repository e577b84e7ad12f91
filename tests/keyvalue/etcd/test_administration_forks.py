"""Processes that fork while they administer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.keyvalue.etcd.servers import Cluster
from tests.paths import ROOT

FORKS = 8


def test_parent_and_children_administer_through_forks(cluster: Cluster, tmp_path: Path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    backup = tmp_path / "backup.db"
    with out.open("w") as stdout, err.open("w") as stderr:  # no pipes: a child that hangs would keep them open
        code = subprocess.call(
            # Python 3.12 and later warn of any fork while there are threads.
            [
                *(sys.executable, "-W", "ignore:This process", "-m", "tests.programs.administration_forking"),
                *(str(FORKS), str(backup), *cluster.endpoints),
            ],
            cwd=ROOT,
            stdout=stdout,
            stderr=stderr,
            timeout=100,
        )
    assert (code, err.read_text()) == (0, "")
    assert json.loads(out.read_text()) == {
        "children": [0] * FORKS,
        "errors": [],
        "healthy": [True] * 3,
        "looking": True,
        "threads": [],
    }
    assert sorted(path.name for path in tmp_path.glob("*backup*")) == ["backup.db"]
