"""For the tests of djangorestframework, which configure the settings themselves: a plugin of pytest that adds ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings
from etcdaero_injection import caches

_configure = LazySettings.configure


def _configured(self: LazySettings, *args: Any, **options: Any) -> None:
    _configure(self, *args, **{**options, "CACHES": caches("default")})


LazySettings.configure = _configured  # type: ignore[method-assign]


@pytest.fixture(scope="session", autouse=True)
def _on_the_real_store() -> Iterator[None]:
    """Use the store of the settings, not that of a test run; say which one it was."""
    from django.core.cache import cache

    from django_etcdaero.testing import real_stores

    with real_stores():
        yield
        print("STORE", cache.get_client().info.kind)  # type: ignore[attr-defined]
