"""A member of staff at work in the admin of the example project, with three workers and a refresher."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.example import BERLIN, Project, environment, serving, versions
from tests.example import project as project  # a fixture
from tests.waiting import wait_until

from .visitor import DRIVER, Visitor, visiting

pytestmark = [
    pytest.mark.slow,
    pytest.mark.servers,
    pytest.mark.skipif(DRIVER is None, reason="NO BROWSER: chromedriver (Debian: chromium-driver) is not installed"),
]


@pytest.fixture(scope="module")
def site(project: Project) -> Iterator[str]:
    """The example with three workers and a running refresher."""
    with ExitStack() as stack:
        workers = stack.enter_context(
            serving(project, "-m", "gunicorn", "-c", "gunicorn.conf.py", GUNICORN_BIND="127.0.0.1:{port}")
        )
        stack.enter_context(running(project, "manage.py", "etcdaero_refresh", "--loop"))
        asked: set[int] = set()

        def all_read() -> bool:
            """A worker begins to read when it is asked for something first."""
            asked.update(versions(workers))
            return len(asked) == 3

        wait_until(all_read, 30, "all workers answering")
        yield f"http://127.0.0.1:{workers.port}"


HOLDING = """
import sys, django
django.setup()
from django_etcdaero import kv
with kv.lock("jobs/nightly") as lock:
    print(lock.token, flush=True)
    sys.stdin.read()
"""


@contextmanager
def running(project: Project, *command: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process of the project beside the workers."""
    process = subprocess.Popen(
        [sys.executable, *command], cwd=project.path, env=environment(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture(scope="module")
def browser(site: str) -> Iterator[Visitor]:
    """One for all tests: starting it takes longer than most of them."""
    with visiting(site) as visitor:
        yield visitor


@pytest.fixture
def visitor(browser: Visitor, project: Project) -> Visitor:
    """The admin user, who has logged in; clearing the cache ends that."""
    password = re.search(r"with the password (\S+) ", project.output)
    assert password is not None, project.output
    browser.goes_to("/admin/")
    if browser.path.startswith("/admin/login/"):
        browser.fills(username="admin", password=password[1])
        browser.clicks("Log in")
    browser.sees("Site administration")
    return browser


CONTENT = "//div[@id='content']"


def test_from_an_edit_to_all_processes_and_back(visitor: Visitor) -> None:
    visitor.clicks("Overview")
    visitor.sees("cities")
    visitor.looks("overview")
    visitor.goes_to(f"/admin/cities/city/{BERLIN}/change/")
    visitor.fills(population="3700000")
    visitor.clicks("Save")
    visitor.goes_to("/admin/django_etcdaero/dataset/")
    visitor.looks("datasets")
    visitor.clicks("cities", within=CONTENT)
    visitor.clicks("Refresh now", within=CONTENT)
    visitor.fills(reason="the population of Berlin")
    visitor.looks("refresh-now")
    visitor.clicks("Refresh now", within="//form//div")
    visitor.sees("version 2")
    visitor.looks("refresh-wait")
    visitor.goes_to("/admin/django_etcdaero/dataset/cities/change/")
    visitor.sees_when_reloading("3 of 3 processes on version 2")
    visitor.looks("dataset")
    visitor.goes_to("/admin/django_etcdaero/dataset/cities/diff/")
    visitor.sees("1 changed")
    visitor.sees("3700000")
    visitor.looks("diff")
    visitor.goes_to(f"/admin/django_etcdaero/dataset/cities/rows/?key={BERLIN}")
    visitor.sees("3700000")
    visitor.looks("rows")
    visitor.goes_to("/admin/django_etcdaero/dataset/cities/change/")
    visitor.clicks("Roll back", within=CONTENT)
    visitor.fills(reason="the census says otherwise")
    visitor.looks("roll-back")
    visitor.clicks("Roll back", within="//form//div")
    visitor.sees_when_reloading("3 of 3 processes on version 1")
    visitor.sees("the census says otherwise")
    visitor.clicks("Unpin", within=CONTENT)
    visitor.fills(reason="the census was corrected")
    visitor.clicks("Unpin", within="//form//div")
    visitor.sees_when_reloading("3 of 3 processes on version")
    visitor.clicks("History", within=CONTENT)
    visitor.sees("the census says otherwise")
    visitor.looks("history")
    assert visitor.complaints() == []


def test_a_key_is_edited_deleted_and_restored(visitor: Visitor, project: Project) -> None:
    for price in ("12.50", "11.90", "13.00"):
        project.manage("etcdaero_put", "prices/eu/1000", f'{{"price": "{price}", "currency": "EUR"}}')
    project.manage("etcdaero_put", "prices/us/1000", "14.00")
    visitor.goes_to("/admin/django_etcdaero/key/")
    visitor.clicks("prices/", within=CONTENT, stays=True)
    visitor.sees("us/")
    visitor.looks("keys")
    visitor.goes_to("/admin/django_etcdaero/key/default_2Fprices_2Feu_2F1000/change/")
    visitor.sees("13.00")
    visitor.looks("key")
    visitor.clicks("Versions", within=CONTENT)
    visitor.sees("12.50")
    visitor.looks("key-versions")
    visitor.goes_to("/admin/django_etcdaero/key/default_2Fprices_2Feu_2F1000/edit/")
    visitor.fills(value='{"price": "9.90", "currency": "EUR"}', comment="sale")
    visitor.clicks("Go on")
    visitor.sees("Difference")
    visitor.looks("key-edit")
    visitor.clicks("Save")
    visitor.sees("9.90")
    visitor.goes_to("/admin/django_etcdaero/key/default_2Fprices_2Fus_2F1000/change/")
    visitor.clicks("Delete", within=CONTENT)
    visitor.clicks("Delete", within="//form//div")
    visitor.goes_to("/admin/django_etcdaero/key/deleted/")
    visitor.sees("prices/us/1000")
    visitor.looks("keys-deleted")
    visitor.clicks("Restore…", within="//tr[contains(., 'prices/us/1000')]")
    visitor.clicks("Restore", within="//form//div")
    visitor.sees("14.00")
    assert project.manage("etcdaero_get", "prices/us/1000").strip() == "14.00"
    assert visitor.complaints() == []


def test_a_lock_is_released_and_its_holder_learns_it(visitor: Visitor, project: Project) -> None:
    with running(project, "-c", HOLDING) as holding:
        assert holding.stdout is not None
        assert holding.stdout.readline()
        visitor.goes_to("/admin/django_etcdaero/lock/")
        visitor.looks("locks")
        visitor.clicks("jobs/nightly", within=CONTENT)
        visitor.sees(str(holding.pid))
        visitor.looks("lock")
        visitor.clicks("Release", within=CONTENT)
        visitor.fills(name="jobs/nightly", reason="it hangs")
        visitor.looks("lock-release")
        visitor.clicks("Release", within="//form//div")
        visitor.sees("was taken from")
    assert "jobs/nightly" not in project.manage("etcdaero_locks", "list")
    assert visitor.complaints() == []


def test_processes_watches_and_leases_are_there(visitor: Visitor) -> None:
    for section in ("process", "watch", "lease"):
        visitor.goes_to(f"/admin/django_etcdaero/{section}/")
        visitor.looks(f"{section}-list")
    visitor.goes_to("/admin/django_etcdaero/process/")
    visitor.sees("gunicorn")
    assert visitor.complaints() == []


def test_a_cache_is_cleared(visitor: Visitor) -> None:
    visitor.goes_to("/countries/DE/")
    visitor.goes_to("/admin/django_etcdaero/cache/")
    visitor.clicks("default", within=CONTENT)
    visitor.looks("cache")
    visitor.clicks("Clear the cache", within=CONTENT)
    visitor.fills(name="default")
    visitor.looks("cache-clear")
    visitor.clicks("Clear the cache", within="//form//div")
    visitor.sees("Username")  # the sessions of the example are in it, as the page has said
    assert visitor.complaints() == []
