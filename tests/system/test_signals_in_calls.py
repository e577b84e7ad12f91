"""A signal handler that raises (Ctrl-C, a command ended by SIGTERM) may hit any step of a call."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

SCRIPT = """
import random, signal, sys, time
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest
from django_etcdaero.records.sqlite.store import SqliteStore

class Interrupt(BaseException):
    pass

def interrupt(number, frame):
    raise Interrupt

kind, path = sys.argv[1:]
if kind == "records":
    store = SqliteStore(path)
    calls = [lambda: store.put(b"key", b"value"), lambda: store.get(b"key")]
else:
    store = EmbeddedEngine.file(path) if kind == "file" else EmbeddedEngine.memory()
    calls = [lambda: store.put(PutRequest(b"key", b"value")), lambda: store.range(RangeRequest(b"key"))]
signal.signal(signal.SIGALRM, interrupt)
rng, hits, until = random.Random(1), 0, time.monotonic() + 20
while hits < 1500 and time.monotonic() < until:
    call = rng.choice(calls)
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.00001, 0.0004))
        while True:
            call()
    except Interrupt:
        hits += 1
signal.setitimer(signal.ITIMER_REAL, 0)
before = time.monotonic()
for call in calls * 20:
    call()
print(hits > 200, time.monotonic() - before < 2)
store.close()
"""


@pytest.mark.parametrize("kind", ["records", "file", "memory"])
def test_an_interrupted_call_leaves_no_lock_held(kind: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, kind, str(tmp_path / "store.sqlite3")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert (done.stdout, done.returncode) == ("True True\n", 0), done.stderr
