"""Calls that block in C, in a process whose threads gevent has patched, and in one that knows nothing of gevent."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import pytest

from django_etcdaero.system import gevent_pool
from tests.keyvalue.etcd.servers import Server
from tests.paths import ROOT

pytest.importorskip("gevent", reason="gevent is not installed")


def in_a_patched_process(*work: str) -> Any:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.programs.gevent_patched", *work],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    return json.loads(ended.stdout)


def test_without_patches_a_call_is_made_where_it_is() -> None:
    assert not gevent_pool.patched()
    assert gevent_pool.blocking(threading.get_ident) == threading.get_ident()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "answer"),
    [
        ("lets_others_run", True),
        ("raises", "of the call"),
        ("killed", [[True], True]),
        ("in_a_thread_of_gevents", "answer"),
        ("many", sum(range(200))),
    ],
)
def test_with_patches(work: str, answer: Any) -> None:
    assert in_a_patched_process(work) == answer


@pytest.mark.servers
def test_a_client_of_etcd_with_patches(shared_server: Server) -> None:
    assert in_a_patched_process("etcd", shared_server.endpoint.removeprefix("http://")) == [[], True]
