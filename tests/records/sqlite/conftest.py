"""Stores on one file, and processes that use it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_etcdaero.records.sqlite.store import SqliteStore
from django_etcdaero.system.sqlite import errors
from tests.paths import ROOT

PROLOGUE = """
import json, os, sqlite3, sys
from django_etcdaero.exceptions import ConfigurationError, KeyExists, VersionConflict
from django_etcdaero.records.sqlite.store import SqliteStore
path = sys.argv[1]
def gate():
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.sqlite3"


@pytest.fixture
def open_store(path: Path) -> Iterator[Callable[..., SqliteStore]]:
    opened: list[SqliteStore] = []

    def open_one(**options: Any) -> SqliteStore:
        opened.append(SqliteStore(path, **options))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[..., SqliteStore]) -> SqliteStore:
    return open_store()


@pytest.fixture
def start(path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a Python process that runs a script; ``gate()`` in it waits until the test sends a line."""
    processes: list[subprocess.Popen[str]] = []

    def start_one(script: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROLOGUE + script, str(path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start_one
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def lock_holder(store: SqliteStore, path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody who is in the middle of a write transaction."""
    store.put(b"before", b"")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield connection
    connection.close()


@pytest.fixture
def met_lock(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when a call has found the file locked, that is, when it waits."""
    event = threading.Event()
    is_busy = errors.is_busy

    def observed(error: sqlite3.Error) -> bool:
        event.set()
        return is_busy(error)

    monkeypatch.setattr(errors, "is_busy", observed)
    return event
