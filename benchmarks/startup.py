"""What the package adds to the start of a process: its import on top of Django, and ``ready()``.

    python benchmarks/startup.py

Each figure is the median over fresh interpreters, with compiled modules at hand as after an installation. ``ready()``
is measured in a project without datasets, with a module of datasets, and with those in a process that reads at once
(``START = "always"``, as a server's does), and so is the import of the pages in a project with Django's admin. Says
as well whether a client library was imported, how many threads were
started and which files of a store were there when it returned.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from stage import machine

RUNS = 15
ADMIN = [
    *("django.contrib.admin.apps.SimpleAdminConfig", "django.contrib.auth", "django.contrib.contenttypes"),
    *("django.contrib.messages", "django.contrib.sessions"),
]
CASES = {
    "without datasets": ([], "auto"),
    "with a module of datasets": (["startup_shop"], "auto"),
    "the same, reading at once": (["startup_shop"], "always"),
    "with Django's admin": (ADMIN, "auto"),
}
MEASURED = {"import": "import on top of Django", "ready": "ready()", "admin": "the admin's pages"}
DATASETS = """
from datetime import timedelta
from django_etcdaero import dataset

@dataset(refresh_every=timedelta(minutes=5))
def prices():
    return {"A1": 1}
"""
SCRIPT = """
import json, os, sys, threading, time
import django, django.conf
home, apps_of_project, start = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
before = time.perf_counter()
import django_etcdaero
imported = time.perf_counter() - before
stores = f"{home}/stores-{os.getpid()}"
django.conf.settings.configure(
    INSTALLED_APPS=["django_etcdaero", *apps_of_project], USE_TZ=True,
    ETCDAERO={"default": {
        "KV": f"sqlite:///{stores}/kv", "RECORDS": f"sqlite:///{stores}/records", "PREFIX": "bench",
        "OPTIONS": {"START": start},
    }},
)
from django_etcdaero import apps
ready = apps.EtcdAeroConfig.ready
seen = {"import": imported}
def timed(self):
    before = time.perf_counter()
    ready(self)
    seen["ready"] = time.perf_counter() - before
    seen["clients"] = [name for name in ("grpc", "etcd3", "aerospike") if name in sys.modules]
    seen["threads"] = threading.active_count() - 1
    seen["files"] = os.listdir(stores) if os.path.exists(stores) else []
apps.EtcdAeroConfig.ready = timed
django.setup()
if "django.contrib.admin.apps.SimpleAdminConfig" in apps_of_project:
    import django.contrib.admin.views.main
    before = time.perf_counter()
    import django_etcdaero.admin
    seen["admin"] = time.perf_counter() - before
print(json.dumps(seen))
"""


def main() -> None:
    print(machine())
    with tempfile.TemporaryDirectory(prefix="etcdaero-bench-") as home:
        shop = Path(home, "startup_shop")
        shop.mkdir()
        (shop / "__init__.py").touch()
        (shop / "datasets.py").write_text(DATASETS)
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environ["PYTHONPYCACHEPREFIX"] = f"{home}/compiled"
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, (home, environ.get("PYTHONPATH"))))
        for name, (apps, start) in CASES.items():
            command = [sys.executable, "-c", SCRIPT, home, json.dumps(apps), start]
            runs = [
                json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environ).stdout)
                for _ in range(RUNS + 1)
            ][1:]  # the first compiles
            last = runs[-1]
            took = {what: statistics.median(run[what] for run in runs) * 1e3 for what in last if what in MEASURED}
            print(f"{name}: " + ", ".join(f"{MEASURED[what]} {each:.1f} ms" for what, each in took.items()) + ";")
            print(f"    client libraries: {last['clients']}, threads: {last['threads']}, store files: {last['files']}")


if __name__ == "__main__":
    main()
