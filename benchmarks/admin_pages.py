"""Time and memory of each page of the admin and of each command that reads, with little and with much in the stores.

    python benchmarks/admin_pages.py [--small 100] [--rows 1000000] [--keys 100000] [--locks 10000] [--processes 1000]
        [--datasets 300]

The same is measured twice, in a process each: with as many things as the options say, one value of 1 MB among the keys,
and with ``--small`` times fewer of each. Pages are asked for through Django's test client, commands are called in the
same process; each figure is the better of two. The times are of the processor, in all threads of the process, so that
what else the machine does counts little; the stores are SQLite files, whose work is in them. The memory is that by
which the process grew at its most, above what it had before (Linux tells it). ``BENCHMARK_KV`` and
``BENCHMARK_RECORDS`` as in the other scripts.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from stage import machine, make_rows, python

SIZES = ("rows", "keys", "locks", "processes", "datasets")
APPS = [
    *("django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes"),
    *("django.contrib.messages", "django.contrib.sessions", "django.contrib.staticfiles", "django_etcdaero"),
]
LARGE_VALUE = 1_000_000
COMMANDS: list[list[str]] = [
    ["etcdaero_status"],
    ["etcdaero_status", "--json"],
    ["etcdaero_status", "shop-000"],
    ["etcdaero_history", "shop-000"],
    ["etcdaero_diff", "shop-000"],
    ["etcdaero_processes"],
    ["etcdaero_locks", "list"],
    ["etcdaero_ls", "data/"],
    ["etcdaero_ls", "--tree"],
    ["etcdaero_get", "large"],
    ["etcdaero_cache", "stats"],
    ["etcdaero_forget", "--list"],
    ["etcdaero_doctor"],
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, count in zip(SIZES, (1_000_000, 100_000, 10_000, 1_000, 300), strict=True):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--small", type=int, default=100, help="how many times fewer the little has")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args)
        return
    print(machine(), {name: getattr(args, name) for name in SIZES})
    little, much = (run(args, divisor) for divisor in (args.small, 1))
    width = max(map(len, much))
    print(f"{'':{width}}  little ms   much ms   ratio   much MiB")
    for name, (seconds, grown) in much.items():
        before = little[name][0]
        print(f"{name:{width}} {before * 1e3:10.0f} {seconds * 1e3:9.0f} {seconds / before:7.1f} {grown / 1024:10.0f}")


def run(args: argparse.Namespace, divisor: int) -> dict[str, list[float]]:
    sizes = [f"--{name}={max(2, getattr(args, name) // divisor)}" for name in SIZES]
    with tempfile.TemporaryDirectory(prefix="etcdaero-bench-") as home:
        done = subprocess.run(
            [*python(), __file__, "--measure", *sizes],
            env={**os.environ, "BENCHMARK_HOME": home},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


# in the process that measures ---------------------------------------------------------------------------------------


def measure(args: argparse.Namespace) -> None:
    set_up(Path(os.environ["BENCHMARK_HOME"]))
    fill(args)
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.test import Client

    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    found = {}
    for path in pages():
        found[path.removeprefix("/admin/django_etcdaero/")] = best_of_two(lambda path=path: get(client, path))
    for command in COMMANDS:
        found[" ".join(command)] = best_of_two(lambda command=command: call(call_command, command))
    print(json.dumps(found))


def best_of_two(act: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of the processor that it takes, and by how many KiB the process grew meanwhile."""
    return min(once(act) for _ in range(2))


def once(act: Callable[[], object]) -> tuple[float, float]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmHWM")
    began = time.process_time()
    act()
    return time.process_time() - began, max(0, memory("VmHWM") - before)


def memory(which: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which))


def get(client: Any, path: str) -> None:
    answer = client.get(path)
    if answer.status_code != 200:
        raise SystemExit(f"{path}: {answer.status_code}")


def call(call_command: Any, command: list[str]) -> None:
    try:
        call_command(*command, stdout=io.StringIO(), stderr=io.StringIO(), no_color=True)
    except SystemExit as ended:
        if ended.code not in (0, 1):
            raise


def pages() -> Iterator[str]:
    """Yield the addresses of all pages that only show something."""
    from django.contrib import admin
    from django.contrib.admin.utils import quote
    from django.urls import reverse

    things = {"dataset": "shop-000", "cache": "default", "key": "default/large", "lock": "default:locks/00000"}
    for model, page in admin.site._registry.items():
        name = str(model._meta.model_name)
        if model._meta.app_label != "django_etcdaero":
            continue
        for pattern in page.get_urls():
            own = (getattr(pattern, "name", None) or "").removeprefix(f"django_etcdaero_{name}_")
            takes = "object_id" in str(pattern.pattern)
            if not own or own in ("add", "delete", "history", *page.acting_names()) or (takes and name not in things):
                continue
            yield reverse(f"admin:{pattern.name}", args=[quote(things[name])] if takes else [])


def set_up(home: Path) -> None:
    import django
    from django.conf import settings
    from django.core.management import call_command

    urls = ModuleType("benchmark_urls")
    sys.modules["benchmark_urls"] = urls
    processors = [f"django.contrib.{each}.context_processors.{each}" for each in ("auth", "messages")]
    settings.configure(
        SECRET_KEY="benchmark",
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=APPS,
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        ROOT_URLCONF="benchmark_urls",
        STATIC_URL="/static/",
        USE_TZ=True,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": home / "database"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {"context_processors": ["django.template.context_processors.request", *processors]},
            }
        ],
        CACHES={"default": {"BACKEND": "django_etcdaero.cache.EtcdAeroCache", "LOCATION": "etcdaero:default"}},
        ETCDAERO={
            "default": {
                "KV": os.environ.get("BENCHMARK_KV", f"sqlite:///{home}/kv.sqlite3"),
                "RECORDS": os.environ.get("BENCHMARK_RECORDS", f"sqlite:///{home}/records.sqlite3"),
                "PREFIX": home.name,
                "OPTIONS": {"START": "lazy"},
            }
        },
    )
    django.setup()
    from django.contrib import admin
    from django.urls import path

    urls.urlpatterns = [path("admin/", admin.site.urls)]  # type: ignore[attr-defined]
    call_command("migrate", verbosity=0)


def fill(args: argparse.Namespace) -> None:
    from django_etcdaero import dataset, datasets, kv
    from django_etcdaero.datasets.state.presence import Presence
    from django_etcdaero.keyvalue import ops
    from django_etcdaero.runtime import runtime

    rows = make_rows(args.rows)
    sources = {"shop-000": rows} | {f"shop-{number:03}": {"a": number} for number in range(1, args.datasets)}
    for name, source in sources.items():
        made: Any = dataset(name=name)(lambda source=source: source)
        made.refresh()
    first = next(iter(rows))
    rows[first] = {**rows[first], "price": -1}
    datasets["shop-000"].refresh(force=True)
    schemas = dict.fromkeys(sources, 1)
    revision = kv.range("", prefix=True, limit=1).revision
    for number in range(args.processes):
        presence = Presence(runtime.stores("default").kv, ttl=600, started=1_000_000_000 + number)
        presence.publish(schemas, revision=revision, otherwise={})
    kv.put("large", b"\xff" * LARGE_VALUE)
    puts: list[Any] = [ops.put(f"data/{number:06}", "x" * 50) for number in range(args.keys)]
    for number in range(args.locks):
        lease = kv.lease(3600, keep_alive=False).id
        puts.append(ops.put(f"locks/{number:05}/{lease:x}", '{"host": "a", "pid": 1}', lease=lease))
    for start in range(0, len(puts), 100):
        kv.txn().then(*puts[start : start + 100]).commit()


if __name__ == "__main__":
    main()
