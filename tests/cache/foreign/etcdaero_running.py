"""Runs tests on the store that the settings name: a test run is otherwise served from memory."""

from __future__ import annotations

from typing import Any

from django.core.cache import caches
from django.test.runner import DiscoverRunner

from django_etcdaero.testing import real_stores


class Runner(DiscoverRunner):
    """Django's runner; says at the end which store was used."""

    def run_tests(self, *args: Any, **kwargs: Any) -> int:
        with real_stores():
            failures: int = super().run_tests(*args, **kwargs)
            print("STORE", caches["default"].get_client().info.kind)
        return failures
