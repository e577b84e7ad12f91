"""The threads in which a process reads: what code of a project meets there, and with what a forked child goes on."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.utils import timezone, translation

from django_etcdaero import dataset
from django_etcdaero.runtime import Runtime
from tests.paths import ROOT

FORKING = """
import os, sys, threading, time
import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django_etcdaero"], BASE_DIR=sys.argv[1], USE_TZ=True,
    ETCDAERO={"default": {"KV": "sqlite:///kv.sqlite3", "RECORDS": "sqlite:///records.sqlite3"}},
)
django.setup()
from django_etcdaero import Changes, Dataset
from django_etcdaero.datasets.blocks.block_store import BlockStore

rows = {f"k{number}": {"n": number} for number in range(500)}
changed, fetched = [], []
fetch = BlockStore.fetch

def counting(self, digests):
    found = fetch(self, digests)
    if threading.current_thread().name == "etcdaero-load":
        fetched.extend(found)
    return found

BlockStore.fetch = counting

class Prices(Dataset):
    name = "prices"
    first_read_timeout = 30

    def load(self):
        return rows

    def change_cursor(self):
        return len(changed)

    def load_changes(self, since):
        return Changes({key: rows[key] for key in changed[since:]}, [], len(changed))

prices = Prices.live
assert prices.refresh().ok
parent = prices["k0"]
pid = os.fork()
if pid:
    _, status = os.waitpid(pid, 0)
    sys.exit(os.waitstatus_to_exitcode(status))
assert prices["k0"] is parent
end = time.monotonic() + 30
while prices.status().busy_with or prices.status().state != "VALID":
    assert time.monotonic() < end
rows["k1"] = {"n": -1}
changed.append("k1")
fetched.clear()
assert prices.refresh(force=True).version == 2
prices.wait_version(2, timeout=30)
assert prices["k1"] == {"n": -1}
kept = int(prices["k0"] is parent)
print(f"kept {kept}, fetched {len(fetched)}", flush=True)
os._exit(0)
"""


@pytest.mark.django_db(transaction=True)
def test_code_of_a_project_meets_nothing_of_what_ran_before(fresh: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatabaseWrapper, "is_in_memory_db", lambda self: False)  # those Django leaves open
    met: list[tuple[Any, ...]] = []

    def prepare(rows: Any) -> None:
        if threading.current_thread().name == "etcdaero-load":
            met.append((connection.connection, translation.get_language(), timezone.get_current_timezone_name()))
            connection.ensure_connection()
            translation.activate("de")
            timezone.activate("Asia/Tokyo")

    value = [1]

    @dataset(prepare=prepare, first_read_timeout=30)
    def prices() -> dict[str, int]:
        return {"a": value[0]}

    fresh.arm()
    for number in (1, 2, 3):
        value[0] = number
        assert prices.refresh(force=True).ok
        assert prices.wait_version(number, timeout=30)["a"] == number
    assert met == [(None, settings.LANGUAGE_CODE, settings.TIME_ZONE)] * 3


def test_the_child_of_a_fork_goes_on_with_what_the_parent_held(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "kept 1, fetched 2\n"), done.stderr  # a root and a delta
