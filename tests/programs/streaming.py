"""Streams a dataset on SQLite stores below a directory: python streaming.py DIRECTORY [ROWS at which it kills itself].

Prints the bytes that were written and those of the version, and how the load ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import django
from django.conf import settings

home = Path(sys.argv[1])
fatal = int(sys.argv[2]) if len(sys.argv) > 2 else None
settings.configure(
    SECRET_KEY="test",
    INSTALLED_APPS=["django_etcdaero"],
    USE_TZ=True,
    ETCDAERO={
        "default": {
            "KV": f"sqlite:///{home}/kv.sqlite3",
            "RECORDS": f"sqlite:///{home}/records.sqlite3",
            "PREFIX": "streaming",
            "OPTIONS": {"LOCK_TTL": 2, "TEMPORARY_DIR": str(home / "temporary")},
        }
    },
)
django.setup()

from django_etcdaero import dataset  # noqa: E402 - it needs the settings
from django_etcdaero.datasets.publish.refresh import Refresh  # noqa: E402
from django_etcdaero.runtime import runtime  # noqa: E402


@dataset(ordered=True)
def numbers() -> Iterator[tuple[int, dict[str, int]]]:
    for number in range(40_000):
        yield number, {"square": number * number}


def progress(phase: str, done: int, total: int | None) -> None:
    if fatal is not None and phase == "write" and done >= fatal:
        os.kill(os.getpid(), signal.SIGKILL)


result = Refresh(numbers, runtime, wait=30, force=True, progress=progress).run()
print(json.dumps([result.outcome, result.bytes_written, result.bytes_total, result.error]))
