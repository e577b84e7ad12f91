"""The stand-in as a program of its own, which can be stopped and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from django_etcdaero.exceptions import ClusterError, DeadlineExceeded
from django_etcdaero.records.aerospike.store import AerospikeStore
from django_etcdaero.records.store import Record

pytestmark = pytest.mark.servers


@pytest.fixture
def program() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.records.aerospike.standin", "--port", "0", "--namespace", "shop"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_the_program_tells_its_address_and_serves(program: subprocess.Popen[str]) -> None:
    assert program.stdout is not None
    address, _, namespace = program.stdout.readline().strip().partition("/")
    host, _, port = address.partition(":")
    store = AerospikeStore([(host, int(port))], namespace=namespace, set_name="s")
    store.put(b"k", b"v", ttl=60)
    assert store.get(b"k").value == b"v"
    program.send_signal(signal.SIGSTOP)
    os.waitpid(program.pid, os.WUNTRACED)  # until it has stopped
    with pytest.raises(DeadlineExceeded):
        store.get(b"k", timeout=0.2)
    program.send_signal(signal.SIGCONT)
    store.put(b"k", b"w")
    assert store.get(b"k") == Record(b"w", 2, None)
    program.kill()
    program.wait(10)
    with pytest.raises(ClusterError):
        store.get(b"k")
    store.close()
