"""Django's own tests, unmodified, of the Django that is installed, over each store.

They come from Django's source distribution, which is fetched once (:mod:`tests.programs.distributions`) and run in a
process of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import django
import pytest

from tests.paths import ROOT
from tests.programs import distributions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SETTINGS = "tests.cache.conformance.settings"

DATABASE_ONLY = {"test_empty_session_saved (sessions_tests.tests.SessionMiddlewareTests.test_empty_session_saved)"}
"""Looks for the session in the database, and so fails with every other engine."""


@pytest.fixture(scope="module")
def django_tests() -> Path:
    try:
        return distributions.sources(f"django=={django.__version__}") / "tests"
    except distributions.Unavailable as error:
        pytest.skip(f"DJANGO'S OWN TESTS WERE NOT RUN: {error}")


def run(django_tests: Path, location: str, *arguments: str) -> tuple[int, set[str], str]:
    """Run tests; return how many ran, the names of those that failed, and all that was printed."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(django_tests)]),
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "ETCDAERO_CONFORMANCE_LOCATION": location,
    }
    environment.pop("PYTHONDEVMODE", None)  # what Django's tests leave open is not our business
    done = subprocess.run(
        [sys.executable, *arguments], cwd=django_tests, env=environment, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    ran = re.search(r"^Ran (\d+) tests", output, re.MULTILINE)
    assert ran is not None, output
    kind = {"mem": "memory"}.get(location.partition(":")[0], location.partition(":")[0])
    assert f"STORE {kind}\n" in output, output
    failed = set(re.findall(r"^(?:ERROR|FAIL): (.*)$", output, re.MULTILINE))
    assert failed or done.returncode == 0, output
    print(f"{ran[1]} of Django's tests ran on {kind}, {len(failed)} failed")
    return int(ran[1]), failed, output


def test_caches_and_their_middleware(django_tests: Path, location: str) -> None:
    ran, failed, output = run(django_tests, location, "-m", "django", "test", "tests.cache.conformance.suites")
    assert failed == set(), output
    assert ran > 100
    assert skipped(output) == (0 if location.startswith("mem:") else 3)  # those of the bound


def test_what_uses_caches(django_tests: Path, location: str) -> None:
    suites = ["sessions_tests", "messages_tests", "csrf_tests", "decorators"]
    ran, failed, output = run(django_tests, location, "runtests.py", f"--settings={SETTINGS}", "--parallel=1", *suites)
    assert failed == DATABASE_ONLY, output
    assert ran > 900


def skipped(output: str) -> int:
    found = re.search(r"skipped=(\d+)", output)
    return 0 if found is None else int(found[1])
