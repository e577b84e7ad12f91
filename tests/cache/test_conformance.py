"""Django's own tests, unmodified, of the Django that is installed, over each store.

They come from Django's source distribution, which is fetched once (:mod:`tests.programs.distributions`) and run in a
process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import django
import pytest

from tests.cache import suites
from tests.cache.conftest import FOR_SUITES, LOCATIONS
from tests.paths import ROOT
from tests.programs import distributions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SETTINGS = "tests.cache.conformance.settings"

USERS = ["sessions_tests", "messages_tests", "csrf_tests", "decorators"]

DATABASE_ONLY = {"test_empty_session_saved (sessions_tests.tests.SessionMiddlewareTests.test_empty_session_saved)"}
"""Looks for the session in the database, and so fails with every other engine."""


@pytest.fixture(params=FOR_SUITES)
def location(request: pytest.FixtureRequest) -> Iterator[str]:
    """A location with nothing in it."""
    yield from LOCATIONS[request.param](request)


@pytest.fixture(scope="module")
def django_tests() -> Path:
    try:
        return distributions.sources(f"django=={django.__version__}") / "tests"
    except distributions.Unavailable as error:
        pytest.skip(f"DJANGO'S OWN TESTS WERE NOT RUN: {error}")


def test_caches_and_their_middleware(django_tests: Path, location: str) -> None:
    arguments = ["-m", "django", "test", "tests.cache.conformance.suites", f"--settings={SETTINGS}"]
    result = suites.run(django_tests, location, *arguments, path=[ROOT, django_tests])
    assert result.failed == set(), result.output
    assert result.ran > 100
    assert result.skipped == (0 if location.startswith("mem:") else 3)  # those of the bound


def test_what_uses_caches(django_tests: Path, location: str) -> None:
    arguments = ["runtests.py", f"--settings={SETTINGS}", "--parallel=1", *USERS]
    result = suites.run(django_tests, location, *arguments, path=[ROOT, django_tests])
    assert result.failed == DATABASE_ONLY, result.output
    assert result.ran > 900
