"""Django's own tests, unmodified, of the Django that is installed, over each store.

They come from Django's source distribution, which is fetched once (:mod:`tests.programs.distributions`) and run in a
process of its own.
"""

from __future__ import annotations

from pathlib import Path

import django
import pytest

from tests.cache import suites
from tests.paths import ROOT
from tests.programs import distributions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SETTINGS = "tests.cache.conformance.settings"

USERS = ["sessions_tests", "messages_tests", "csrf_tests", "decorators"]

DATABASE_ONLY = {"test_empty_session_saved (sessions_tests.tests.SessionMiddlewareTests.test_empty_session_saved)"}
"""Looks for the session in the database, and so fails with every other engine."""

IN_EVENT_LOOPS = {
    "test_create_and_save_async (sessions_tests.tests.CacheSessionTests.test_create_and_save_async)",
    *(
        f"{name} (sessions_tests.tests.{suite}.{name})"
        for suite in ("CacheDBSessionTests", "CacheDBSessionWithTimeZoneTests")
        for name in (
            "test_actual_expiry_async",
            "test_cycle_async",
            "test_cycle_with_no_session_cache_async",
            "test_delete_async",
            "test_flush_async",
            "test_invalid_key_async",
            "test_save_async",
            "test_save_doesnt_clear_data_async",
            "test_session_asave_does_not_resurrect_session_logged_out_in_other_context",
        )
    ),
}
"""Block in an event loop, which a database refuses: the first calls ``get()`` there, the others ``cached_db``, whose
``aexists()`` does. With Django's ``DatabaseCache`` they fail as well."""


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
    assert result.failed == DATABASE_ONLY | (IN_EVENT_LOOPS if location.startswith("db:") else set()), result.output
    assert result.ran > 900
