"""What other processes do to a store while a test looks on:
``python -m tests.programs.embedded_writing <function> <path>``.

Each function is run in a process of its own and tells how far it got in lines on its standard output.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django_etcdaero.keyvalue.embedded import EmbeddedEngine, Retention
from django_etcdaero.keyvalue.values import (
    Compare,
    CompareOp,
    CompareTarget,
    DeleteRequest,
    PutRequest,
    RangeRequest,
    RangeResult,
    TxnRequest,
)
from tests.paths import ROOT

SOON = Retention(revisions=20, seconds=0.0)
"""So little history that compaction is always at work."""


@contextmanager
def child(function: Callable[..., None], path: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a function of this module in a process of its own, which is killed at the end."""
    command = [sys.executable, "-W", "error", "-m", "tests.programs.embedded_writing", function.__name__, str(path)]
    with subprocess.Popen([*command, *map(str, arguments)], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a child prints, empty when it has ended."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def write_step(engine: EmbeddedEngine, number: int) -> None:
    """Put ``a``, ``b`` and one of fifty others to ``number`` in one transaction, and delete another one."""
    value = b"%d" % number
    engine.txn(
        TxnRequest(
            success=[
                PutRequest(b"a", value),
                DeleteRequest(b"other/%d" % ((number + 25) % 50)),
                PutRequest(b"other/%d" % (number % 50), value),
                PutRequest(b"b", value),
            ]
        )
    )


def write_until_killed(path: str) -> None:
    """Write step after step and print the number of each that is done."""
    engine = EmbeddedEngine.file(path, retention=SOON)
    kvs = engine.range(RangeRequest(b"a")).kvs
    number = int(kvs[0].value) if kvs else 0
    while True:
        number += 1
        write_step(engine, number)
        print(number, flush=True)


def _trace(statement: Callable[[str], None]) -> None:
    """Call ``statement`` with the text of every statement that connections opened from now on begin."""
    connect = sqlite3.connect

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(statement)
        return connection

    sqlite3.connect = traced  # type: ignore[assignment]


def die_at_statement(path: str, count: str, start: str) -> None:
    """Write in ``count`` children of this process; the n-th is killed at its n-th statement from ``start`` on."""
    for nth in range(1, int(count) + 1):
        pid = os.fork()
        if pid == 0:
            _trace(_killer(nth, start))
            engine = EmbeddedEngine.file(path, retention=SOON)
            for number in range(nth * 1000, nth * 1000 + 200):
                write_step(engine, number)
            os._exit(1)
        _, status = os.waitpid(pid, 0)
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else "survived", flush=True)


def _killer(nth: int, start: str) -> Callable[[str], None]:
    seen: list[str] = []

    def statement(sql: str) -> None:
        if seen or start in sql:
            seen.append(sql)
        if len(seen) == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    return statement


def stop_inside_transaction(path: str) -> None:
    """Write one key, but stop (SIGSTOP) just before the transaction is committed; print when it is."""
    engine = EmbeddedEngine.file(path)
    connected = [engine]
    engine.close()
    _trace(lambda sql: os.kill(os.getpid(), signal.SIGSTOP) if sql == "COMMIT" and connected else None)
    connected.append(EmbeddedEngine.file(path))
    connected[-1].put(PutRequest(b"stopped", b"1"))
    print("done", flush=True)


def increment(path: str, times: str) -> None:
    """Raise the number under ``counter`` so many times, each time by compare and swap."""
    engine = EmbeddedEngine.file(path)
    for _ in range(int(times)):
        while True:
            kv = engine.range(RangeRequest(b"counter")).kvs[0]
            unchanged = Compare(b"counter", CompareTarget.MOD, CompareOp.EQUAL, kv.mod_revision)
            raised = PutRequest(b"counter", b"%d" % (int(kv.value) + 1))
            if engine.txn(TxnRequest([unchanged], [raised])).succeeded:
                break
    engine.close()


def put_many(path: str, name: str, times: str) -> None:
    """Put ``name`` to 0, 1, 2 and so on."""
    engine = EmbeddedEngine.file(path)
    for number in range(int(times)):
        engine.put(PutRequest(name.encode(), b"%d" % number))
    engine.close()


def hold_lease(path: str) -> None:
    """Put ``leased`` on a lease of two seconds and wait to be killed."""
    engine = EmbeddedEngine.file(path)
    lease = engine.lease_grant(2).id
    engine.put(PutRequest(b"leased", lease=lease))
    print(lease, flush=True)
    signal.pause()


def whole(path: Path) -> int:
    """Open a store that was left by killed processes; fail unless it is whole. Return the last step found in it."""
    engine = EmbeddedEngine.file(path, retention=SOON)
    try:
        both = engine.txn(TxnRequest(success=[RangeRequest(b"a"), RangeRequest(b"b")]))
        first, second = both.responses
        assert isinstance(first, RangeResult)
        assert isinstance(second, RangeResult)
        assert [kv.value for kv in first.kvs] == [kv.value for kv in second.kvs]
        assert [kv.mod_revision for kv in first.kvs] == [kv.mod_revision for kv in second.kvs]
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
        return int(first.kvs[0].value) if first.kvs else 0
    finally:
        engine.close()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
