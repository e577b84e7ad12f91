"""For the tests of djangorestframework, which configure the settings themselves: a plugin of pytest that adds ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings
from etcdaero_injection import STORES, caches

_configure = LazySettings.configure


def _configured(self: LazySettings, *args: Any, **options: Any) -> None:
    databases = {**options["DATABASES"], **STORES}
    _configure(self, *args, **{**options, "CACHES": caches("default"), "DATABASES": databases})


LazySettings.configure = _configured  # type: ignore[method-assign]


@pytest.fixture(scope="session", autouse=True)
def _on_the_real_store(django_db_blocker: Any) -> Iterator[None]:
    """Use the store of the settings, not that of a test run; say which one it was."""
    from django.core.cache import cache
    from etcdaero_running import stores_allowed

    from django_etcdaero.testing import real_stores

    with django_db_blocker.unblock(), stores_allowed(), real_stores():
        yield
        print("STORE", cache.get_client().info.kind)  # type: ignore[attr-defined]
