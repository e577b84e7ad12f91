"""A process that changes objects and ends at once has asked for the load, and one that cannot ask ends all the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

SCRIPT = """
import sys
import django
from django.conf import settings

settings.configure(
    BASE_DIR=sys.argv[1],
    INSTALLED_APPS=["django_etcdaero", "tests.model_datasets.shop"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1] + "/db.sqlite3"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    ETCDAERO={"default": {"KV": sys.argv[3], "PREFIX": "shop"}},
)
django.setup()
from django.core.management import call_command
from django_etcdaero import ModelDataset
from tests.model_datasets.shop.models import Category

class Categories(ModelDataset):
    name = "categories"
    model = Category
    fields = ("slug",)
    refresh_on = [Category]

if sys.argv[2] == "first":
    call_command("migrate", run_syncdb=True, verbosity=0)
if sys.argv[2] != "change":
    print(Categories.live.refresh().outcome)
else:
    for number in range(300):
        Category.objects.create(slug=f"c{number}", name=f"c{number}")
"""


def run(directory: Path, what: str, kv: str = "sqlite:///kv.sqlite3") -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(directory), what, kv],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


@pytest.mark.slow
def test_what_was_changed_last_is_asked_for_at_the_end_of_the_process(tmp_path: Path) -> None:
    assert run(tmp_path, "first") == ("refreshed", "")
    assert run(tmp_path, "change") == ("", "")
    assert run(tmp_path, "again") == ("refreshed", "")


@pytest.mark.slow
def test_a_store_that_is_away_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    assert run(tmp_path, "first") == ("refreshed", "")
    _, told = run(tmp_path, "change", kv="etcd://127.0.0.1:1")
    assert told.count("dataset categories: models changed, and no load could be asked for") == 1
