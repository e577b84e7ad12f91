"""Processes that fork while an engine is at work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.keyvalue.etcd.servers import Server
from tests.paths import ROOT

FORKS = 20


@pytest.mark.parametrize("support", [None, "1"], ids=["default", "enabled"])
def test_parent_and_children_work_through_twenty_forks(
    shared_server: Server, tmp_path: Path, support: str | None
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    if support is not None:
        environment["GRPC_ENABLE_FORK_SUPPORT"] = support
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("w") as stdout, err.open("w") as stderr:  # no pipes: a child that hangs would keep them open
        code = subprocess.call(
            # Python 3.12 and later warn of any fork while there are threads.
            [
                sys.executable,
                "-W",
                "ignore:This process",
                "-m",
                "tests.programs.etcd_forking",
                shared_server.endpoint,
                str(FORKS),
            ],
            cwd=ROOT,
            env=environment,
            stdout=stdout,
            stderr=stderr,
            timeout=100,
        )
    assert (code, err.read_text()) == (0, "")
    result = json.loads(out.read_text())
    assert result["children"] == [0] * FORKS
    assert result["errors"] == []
    assert result["seen"]
    assert result["threads"] == []


MANY = """
import os, sys
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.etcd.connection import grpc_forks
from django_etcdaero.keyvalue.values import RangeRequest

looks = []
grpc_forks._grpc_is_running = lambda: looks.append(1)
engines = [EtcdEngine([sys.argv[1]]) for _ in range(20)]
for engine in engines:
    engine.range(RangeRequest(b"many"))
for engine in engines[10:]:
    engine.close()
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    print(len(looks))
print(engines[0].range(RangeRequest(b"many")).count, flush=True)
os._exit(0)
"""


def test_a_fork_waits_once_for_the_threads_of_grpc_however_many_engines_there_are(shared_server: Server) -> None:
    command = [sys.executable, "-W", "ignore:This process", "-c", MANY, shared_server.endpoint]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["3", "6", "0"], "")
