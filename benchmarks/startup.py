"""What the package adds to the start of a process: its import on top of Django, and ``ready()``.

    python benchmarks/startup.py

Each figure is the median over fresh interpreters. Says as well whether a client library was imported, a thread started
or a file of a store opened.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from stage import machine

RUNS = 15
SCRIPT = """
import json, sys, tempfile, threading, time
import django, django.conf
before = time.perf_counter()
import django_etcdaero
imported = time.perf_counter() - before
home = tempfile.mkdtemp()
django.conf.settings.configure(
    INSTALLED_APPS=["django_etcdaero"], USE_TZ=True,
    ETCDAERO={"default": {"KV": f"sqlite:///{home}/kv", "RECORDS": f"sqlite:///{home}/records", "PREFIX": "bench"}},
)
from django_etcdaero import apps
ready = apps.EtcdAeroConfig.ready
took = []
def timed(self):
    before = time.perf_counter()
    ready(self)
    took.append(time.perf_counter() - before)
apps.EtcdAeroConfig.ready = timed
django.setup()
import os
print(json.dumps({
    "import": imported,
    "ready": took[0],
    "clients": [name for name in ("grpc", "etcd3", "aerospike") if name in sys.modules],
    "threads": threading.active_count() - 1,
    "files": os.listdir(home),
}))
"""


def main() -> None:
    runs = [
        json.loads(subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True).stdout)
        for _ in range(RUNS)
    ]
    print(machine())
    print(f"import django_etcdaero: {statistics.median(run['import'] for run in runs) * 1e3:.1f} ms on top of Django")
    print(f"ready():                {statistics.median(run['ready'] for run in runs) * 1e3:.1f} ms")
    last = runs[-1]
    print(f"client libraries: {last['clients']}, threads started: {last['threads']}, store files: {last['files']}")


if __name__ == "__main__":
    main()
