"""The pytest plugin: found through the package's entry point, and idle in projects that do not use the app."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator

import pytest

from django_etcdaero.system.serving import declare_test_run

MARK = "etcdaero_real_stores"


def _keep_from_real_stores() -> None:
    declare_test_run()
    loaded = sys.modules.get("django_etcdaero.runtime")
    if loaded is not None:
        loaded.runtime.memory_only = True


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests() -> Generator[None, object, object]:
    """Keep the real stores from all that is imported: a wrapper comes before pytest-django, which sets Django up."""
    _keep_from_real_stores()
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Announce the mark; do the above where the plugin was loaded too late for that."""
    _keep_from_real_stores()
    config.addinivalue_line(
        "markers", f"{MARK}: use the stores of settings.ETCDAERO instead of memory, for a test that brings its own."
    )


def _in_use() -> bool:
    from django.apps import apps

    return apps.ready and apps.is_installed("django_etcdaero")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Let the first test begin with empty stores, too, whatever was written when modules were imported."""
    if _in_use():
        from . import reset

        reset()


@pytest.fixture(autouse=True)
def _etcdaero_in_memory(request: pytest.FixtureRequest) -> Iterator[None]:
    """Serve every alias from memory, and leave nothing to the next test."""
    if not _in_use():
        yield
        return
    from django_etcdaero.runtime import runtime

    from . import real_stores, reset

    if request.node.get_closest_marker(MARK) is not None:
        with real_stores():
            yield
        return
    runtime.memory_only = True
    reset()  # of what a class or a module has set up
    yield
    reset()
