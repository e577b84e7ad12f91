"""The pytest plugin: found through the package's entry point, and idle in projects that do not use the app."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

MARK = "etcdaero_real_stores"


def pytest_configure(config: pytest.Config) -> None:
    """Announce the mark."""
    config.addinivalue_line(
        "markers", f"{MARK}: use the stores of settings.ETCDAERO instead of memory, for a test that brings its own."
    )


def _in_use() -> bool:
    from django.apps import apps

    return apps.ready and apps.is_installed("django_etcdaero")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Keep the real stores from fixtures of a module or a session, too."""
    if _in_use():
        from ..runtime import runtime

        runtime.memory_only = True


@pytest.fixture(autouse=True)
def _etcdaero_in_memory(request: pytest.FixtureRequest) -> Iterator[None]:
    """Serve every alias from memory, and leave nothing to the next test."""
    if not _in_use():
        yield
        return
    from ..runtime import runtime
    from . import real_stores, reset

    if request.node.get_closest_marker(MARK) is not None:
        with real_stores():
            yield
        return
    runtime.memory_only = True
    yield
    reset()
