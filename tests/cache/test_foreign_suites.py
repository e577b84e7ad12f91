"""The test suites of packages that use caches, unmodified, from their source distributions, over each store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cache import suites
from tests.programs import distributions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

REST_FRAMEWORK = "djangorestframework==3.18.3"
FAST_RATELIMIT = "django_fast_ratelimit==9.1.2"
RATELIMIT = "django-ratelimit==4.1.0"
NEEDED = ("dj-database-url==3.1.2", "faker==40.63.0", "tzdata==2026.6")
"""What the suites import."""

STORE_AWAY = {
    f"{name} (django_ratelimit.tests.CacheFailTests.{name})"
    for name in (
        "test_fail_open_setting",
        "test_is_ratelimited_cache_connection_error_with_increment",
        "test_is_ratelimited_cache_connection_error_with_increment_redis",
        "test_is_ratelimited_cache_connection_error_without_increment",
        "test_limit_on_cache_connection_error",
    )
}
"""Expect that ``add()`` answers ``False`` when the store is away. Here it raises: ``False`` says that there is an
entry, and Django's sessions would try 10,000 times."""

IN_EVENT_LOOPS = {"test_basic (tests.test_decorator.AsyncDecoratorTests.test_basic)"}
"""Blocks in an event loop, which a database refuses."""


def source(requirement: str) -> Path:
    try:
        return distributions.sources(requirement)
    except distributions.Unavailable as error:
        pytest.skip(f"THE TESTS OF {requirement} WERE NOT RUN: {error}")


@pytest.fixture(scope="module")
def needed() -> Path:
    try:
        return distributions.installed(*NEEDED)
    except distributions.Unavailable as error:
        pytest.skip(f"THE TESTS OF OTHER PACKAGES WERE NOT RUN: {error}")


def test_throttling_of_rest_framework(needed: Path, location: str) -> None:
    directory = source(REST_FRAMEWORK)
    options = ["-p", "no:django_etcdaero", "-p", "no:randomly", "-p", "etcdaero_rest_framework", "-q", "-s"]
    arguments = ["-m", "pytest", *options, "tests/test_throttling.py"]
    result = suites.run(directory, location, *arguments, path=[directory, needed])
    assert result.failed == set(), result.output
    assert result.ran == 29


def test_fast_ratelimit(needed: Path, location: str) -> None:
    directory = source(FAST_RATELIMIT)
    arguments = ["-m", "django", "test", "tests", "--settings=etcdaero_fast_ratelimit"]
    result = suites.run(directory, location, *arguments, path=[directory, needed])
    assert result.failed == (IN_EVENT_LOOPS if location.startswith("db:") else set()), result.output
    assert result.ran == 72


def test_ratelimit(location: str) -> None:
    directory = source(RATELIMIT)
    arguments = ["-m", "django", "test", "django_ratelimit", "--settings=etcdaero_ratelimit"]
    result = suites.run(directory, location, *arguments, path=[directory])
    assert result.failed == STORE_AWAY, result.output
    assert result.ran == 52
