"""Single calls and batches of 100 on record stores, with values of 10 KB that do not compress.

    python benchmarks/records.py sqlite:////tmp/records.sqlite3 db:benchmark aerospike://127.0.0.1:3000/test/benchmark

The stores take turns. For ``db:benchmark`` the environment variable ``BENCHMARK_DATABASE`` says as JSON what
``settings.DATABASES`` would say of the alias ``benchmark``; the table is made if it is not there.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable

import django
from django.conf import settings
from django.core.management import call_command

ROUNDS, BATCHES = 300, 30
KEYS = [b"benchmark/%04d" % number for number in range(100)]
VALUES = {key: os.urandom(10_000) for key in KEYS}


def main() -> None:
    entry = json.loads(os.environ.get("BENCHMARK_DATABASE", "{}"))
    settings.configure(DATABASES={"default": {}, "benchmark": entry}, INSTALLED_APPS=["django_etcdaero"], USE_TZ=True)
    migrated = bool(entry)  # Django completes the entries of DATABASES where they are
    django.setup()
    if migrated:
        call_command("migrate", "django_etcdaero", database="benchmark", verbosity=0)
    from django_etcdaero import schemes
    from django_etcdaero.records.store import RecordStore
    from django_etcdaero.stores.address import Plane

    stores = {url: schemes.open_store(schemes.parse(url, plane=Plane.RECORDS), timeout=20) for url in sys.argv[1:]}
    calls: dict[str, tuple[int, Callable[[RecordStore], object]]] = {
        "put": (ROUNDS, lambda store: store.put(KEYS[5], VALUES[KEYS[5]])),
        "get": (ROUNDS, lambda store: store.get(KEYS[5])),
        "exists": (ROUNDS, lambda store: store.exists(KEYS[5])),
        "put_many, 100": (BATCHES, lambda store: store.put_many(VALUES)),
        "get_many, 100": (BATCHES, lambda store: store.get_many(KEYS)),
        "exists_many, 100": (BATCHES, lambda store: store.exists_many(KEYS)),
        "touch_many, 100": (BATCHES, lambda store: store.touch_many(dict.fromkeys(KEYS), 3600)),
    }
    for store in stores.values():
        store.put_many(VALUES)
    print(f"{'microseconds, medians':24}" + "".join(f"{url[:24]:>26}" for url in stores))
    for name, (rounds, call) in calls.items():
        taken: dict[str, list[float]] = {url: [] for url in stores}
        for _ in range(rounds):
            for url, store in stores.items():
                begin = time.perf_counter()
                call(store)
                taken[url].append(time.perf_counter() - begin)
        print(f"{name:24}" + "".join(f"{statistics.median(each) * 1e6:26,.0f}" for each in taken.values()), flush=True)
    for store in stores.values():
        store.delete_many(KEYS)
        store.close()


if __name__ == "__main__":
    main()
