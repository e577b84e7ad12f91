"""What ``ready()`` leaves for later: it is on the way of every command and every worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

SCRIPT = """
import sys, threading
import django
from django.conf import settings

importers = {}

class Noting:
    def find_spec(self, name, path=None, target=None):
        importers[name] = threading.current_thread().name
sys.meta_path.insert(0, Noting())

sys.path.insert(0, sys.argv[1])
settings.configure(
    BASE_DIR=sys.argv[1],
    INSTALLED_APPS=["django_etcdaero", "shop"],
    ETCDAERO={"default": {"OPTIONS": {"START": sys.argv[2]}}},
)
django.setup()
from django_etcdaero import datasets
assert list(datasets) == ["prices"]
if sys.argv[2] == "always":
    from tests.waiting import wait_until
    wait_until(lambda: datasets["prices"].status().error, what="the reader's first look at the stores")
print(*(importers.get(f"django_etcdaero.{name}") for name in sys.argv[3:]))
"""
MODULES = [
    "datasets.read.follower",
    "datasets.state.presence",
    "datasets.state.stored_state",
    "datasets.blocks.row_types",
    "keyvalue.engine",
    "keyvalue.facade",
    "keyvalue.values",
    "records.sqlite.store",
]


@pytest.mark.parametrize(("start", "importers"), [("lazy", {"None"}), ("always", {"etcdaero-reader", "etcdaero-load"})])
def test_what_reading_needs_is_imported_by_the_reader(tmp_path: Path, start: str, importers: set[str]) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "datasets.py").write_text(
        "from django_etcdaero import dataset\n@dataset\ndef prices():\n    return {'a': 1}\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(tmp_path), start, *MODULES],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = done.stdout.split()
    assert len(found) == len(MODULES)
    assert set(found) == importers


ADMIN_SCRIPT = """
import sys
import django
from django.conf import settings
apps = ("admin", "auth", "contenttypes", "messages", "sessions")
settings.configure(INSTALLED_APPS=["django_etcdaero", *(f"django.contrib.{name}" for name in apps)])
django.setup()
assert "django_etcdaero.admin.caches" in sys.modules
print(*(name for name in ("doctor", "cache.backend", "keyvalue.etcd") if f"django_etcdaero.{name}" in sys.modules))
"""


def test_the_pages_of_the_admin_import_what_they_ask_later() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ADMIN_SCRIPT], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
