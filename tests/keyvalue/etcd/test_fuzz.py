"""Nothing that an engine can be asked to send, and no way to give it up, ends a server.

The ordinary run makes the same calls each time, as far as the machine lets it. ``ETCDAERO_TEST_FUZZ=100000`` makes it
about so many, other ones each time, and prints how many there were of each kind. ``ETCDAERO_TEST_ETCD`` names another
release of etcd.
"""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest
from tests.keyvalue.etcd.fuzzing import CHECK_TIMEOUT, Fuzz
from tests.keyvalue.etcd.servers import PROGRAMS, Server

CALLS = int(os.environ.get("ETCDAERO_TEST_FUZZ", "0"))
_AT_ONCE = 1_000
_SHORT = 2_000
_PANICS = ("panic:", "goroutine ", "fatal error:", '"level":"panic"', '"level":"fatal"')


def assert_serves(server: Server, pid: int) -> None:
    """Assert that the server is the process that it was, has not complained, and reads and writes."""
    log = (server.directory / "log").read_text(errors="replace")
    assert server.process is not None
    assert (server.process.poll(), server.process.pid) == (None, pid), log[-3000:]
    assert not any(panic in log for panic in _PANICS), log[-3000:]
    engine = EtcdEngine([server.endpoint], timeout=CHECK_TIMEOUT)
    revision = engine.put(PutRequest(b"serves")).revision
    assert engine.range(RangeRequest(b"serves")).kvs[0].mod_revision == revision
    engine.close()


@pytest.mark.slow
@pytest.mark.timeout(240 + CALLS // 10)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what a signal raises in a __del__()
def test_no_call_that_an_engine_makes_or_gives_up_ends_the_server(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert server.process is not None
    pid = server.process.pid
    seed = random.randrange(10**6) if CALLS else 1
    fuzz = Fuzz(server.endpoint, tmp_path, seed)
    for _ in range(0, CALLS or _SHORT, _AT_ONCE):
        fuzz.batch(_AT_ONCE)
        assert_serves(server, pid)
    fuzz.close()
    if CALLS:
        version = subprocess.run([PROGRAMS / "etcd", "--version"], capture_output=True, text=True, check=True)
        with capsys.disabled():
            print(f"\n{version.stdout.splitlines()[0]}, seed {seed}, {fuzz.calls.total()} calls")
            print(dict(fuzz.ends.most_common()), dict(sorted(fuzz.calls.items())), sep="\n")
    assert fuzz.calls.total() > (CALLS or _SHORT) * 0.9
    assert min(fuzz.ends["answered"], fuzz.ends["cancelled"], fuzz.ends["DeadlineExceeded"]) > 20
