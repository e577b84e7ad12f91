"""Each page is whole within its deadline while the record store is frozen: a server that is stopped, a locked file."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.test import Client

from django_etcdaero.runtime import runtime
from django_etcdaero.system.clocks import monotonic
from tests.waiting import wait_until

from .every_page import Address

DEADLINE = 0.3
CALL_TIMEOUT = 30.0
"""Seconds that a page would take that waited for its calls."""
PATIENCE = 10.0
"""Seconds that a page may take on a machine that is busy."""


class Frozen(NamedTuple):
    """A record store that can be frozen."""

    location: str
    freeze: Callable[[], object]
    thaw: Callable[[], object]


@pytest.fixture
def aerospike() -> Iterator[Frozen]:
    command = [sys.executable, "-m", "tests.records.aerospike.standin", "--port", "0", "--namespace", "shop"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None

        def stop() -> None:
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)  # until it has stopped

        location = f"aerospike://{process.stdout.readline().strip()}/records"
        yield Frozen(location, stop, lambda: process.send_signal(signal.SIGCONT))
        process.kill()


LOCKING = """
import fcntl, sys
shared = open(sys.argv[1] + "-shm", "r+b")
fcntl.lockf(shared, fcntl.LOCK_EX, 8, 120)  # all locks of WAL: whoever wants to read or write waits
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def sqlite(tmp_path: Path) -> Frozen:
    path = tmp_path / "records.sqlite3"
    locking: list[subprocess.Popen[str]] = []

    def lock() -> None:
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        locking.append(subprocess.Popen([sys.executable, "-c", LOCKING, str(path)], **pipes))
        assert locking[0].stdout.readline() == "locked\n"  # type: ignore[union-attr]

    def unlock() -> None:
        while locking:
            locking.pop().communicate(timeout=10)

    return Frozen(f"sqlite:///{path}", lock, unlock)


@pytest.fixture(params=[pytest.param("aerospike", marks=pytest.mark.servers), "sqlite"])
def store(request: pytest.FixtureRequest) -> Frozen:
    """Each kind in turn."""
    found: Frozen = request.getfixturevalue(request.param)
    return found


@pytest.fixture(autouse=True)
def _real_store(store: Frozen, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.ETCDAERO = {
        "default": {
            "KV": f"mem:frozen-{secrets.token_hex(4)}",
            "RECORDS": store.location,
            "PREFIX": "tests",
            "OPTIONS": {"CALL_TIMEOUT": CALL_TIMEOUT},
        }
    }
    runtime.memory_only = False
    for name, module in list(sys.modules.items()):
        if name.startswith("django_etcdaero.admin.") and hasattr(module, "DEADLINE"):
            monkeypatch.setattr(module, "DEADLINE", DEADLINE)
    yield
    store.thaw()
    runtime.memory_only = True


@pytest.fixture
def caches_kept(store: Frozen, settings: Any) -> None:
    """One cache, in the same store."""
    backend = "django_etcdaero.cache.EtcdAeroCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": store.location, "KEY_PREFIX": "shop"}}


ASKING = re.compile(r"django_etcdaero_(overview|dataset|cache)_(?!history)")
"""The names of the pages that ask the record store; what has been done to a thing is in the database."""
COMPLAINT = re.compile(r"RECORDS: \w+: .+|cache default: \w+: .+")


def test_each_page_is_whole_and_says_since_when(
    store: Frozen, things: None, pages: list[Address], root: Client
) -> None:
    store.freeze()
    for page in pages:
        began = monotonic()
        answer = root.get(page.path)
        assert (answer.status_code, monotonic() - began < PATIENCE) == (200, True), page
        if answer["Content-Type"].startswith("text/html"):
            text = answer.content.decode()
            told = "Not everything could be read" in text
            assert told == bool(ASKING.match(page.name)), page
            complaints = COMPLAINT.findall(text)
            assert complaints or not told or "overview" in page.name, page  # which may not come to the names of stores
            assert all(re.search(r" \(since \d\d:\d\d:\d\d UTC\)", each) for each in complaints), page
            assert text.rstrip().endswith("</html>"), page
    store.thaw()
    (overview,) = [each.path for each in pages if "overview" in each.name]
    wait_until(lambda: b"could not be read" not in root.get(overview).content, what="a page without complaints")
