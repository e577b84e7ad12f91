"""No process ever uses, closes or destroys a client that it did not make."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from django_etcdaero.exceptions import StoreBusy
from django_etcdaero.records.aerospike.store import AerospikeStore
from django_etcdaero.records.store import Record
from tests.records.aerospike.line import Line
from tests.records.aerospike.serving import Served
from tests.waiting import wait_until

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(server: Served) -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def start_program(name: str, port: int = server.port) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.programs.aerospike_forking"]
        process = subprocess.Popen(
            [*command, name, server.host, str(port), server.namespace],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start_program
    for process in processes:
        process.kill()
        process.communicate()


def outcome(process: subprocess.Popen[str], text: str = "") -> str:
    output, errors = process.communicate(text, timeout=100)
    assert (process.returncode, errors) == (0, "")
    return output.splitlines()[-1]


def test_children_of_a_process_whose_threads_are_calling(start: Start) -> None:
    assert outcome(start("threads")) == "children [0] wrong []"


def test_children_that_nobody_prepared_for(start: Start) -> None:
    assert outcome(start("unprepared")) == "children [0] wrong []"


def test_the_client_is_closed_before_a_fork_and_made_anew_after_it(line: Line, distant: AerospikeStore) -> None:
    distant.put(b"k", b"v")
    assert line.connections > 0
    distant.before_fork(1)
    wait_until(lambda: line.connections == 0, what="the connections being closed")
    with pytest.raises(StoreBusy):
        distant.get(b"k", timeout=0)
    distant.after_fork_in_parent()
    assert distant.get(b"k") == Record(b"v", 1, None)


def test_a_scan_goes_on_after_a_fork(start: Start) -> None:
    assert outcome(start("scan")) == "child 0 seen once True"


def test_a_fork_does_not_wait_for_ever_for_a_call(start: Start, line: Line) -> None:
    process = start("busy", port=line.port)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    line.freeze()
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "forked\n"
    line.thaw()
    assert outcome(process) == "child 0 parent key-0"
