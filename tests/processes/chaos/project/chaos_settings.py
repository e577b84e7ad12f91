"""Settings of the project: two aliases, one on servers and one on files of SQLite."""

import os
import select
import time
from pathlib import Path

if "FAKETIME" in os.environ or "FAKETIME_TIMESTAMP_FILE" in os.environ:
    # libfaketime 0.9.10 spoils the call of time.sleep() where it is told to leave the monotonic clock alone: it goes by
    # an absolute time of that clock as if it were one of the day.
    time.sleep = lambda seconds: select.select([], [], [], seconds)  # type: ignore[assignment, return-value]

DIRECTORY = Path(os.environ["SHOP_DIRECTORY"])
FILES = Path(os.environ["CHAOS_FILES"])
OPTIONS = {
    "SHARED_DIR": str(FILES / "shared"),
    "LOCK_TTL": 6,
    "SESSION_TTL": 6,
    "CALL_TIMEOUT": float(os.environ.get("SHOP_CALL_TIMEOUT", "5")),
}

BASE_DIR = DIRECTORY
SECRET_KEY = "only for tests"
USE_TZ = True
INSTALLED_APPS = ["django_etcdaero", "figures"]
ETCDAERO = {
    "default": {
        "KV": os.environ["SHOP_KV"],
        "RECORDS": os.environ["SHOP_RECORDS"],
        "PREFIX": os.environ["SHOP_PREFIX"],
        "OPTIONS": {**OPTIONS, "SPLAY": 0, "POLL_INTERVAL": 1},
    },
    "files": {
        "KV": f"sqlite:///{FILES}/kv.sqlite3",
        "RECORDS": f"sqlite:///{FILES}/records.sqlite3",
        "PREFIX": "files",
        "OPTIONS": OPTIONS,
    },
}
