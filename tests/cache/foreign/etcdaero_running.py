"""Runs tests on the store that the settings name: a test run is otherwise served from memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from django.core.cache import caches
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import SimpleTestCase
from django.test.runner import DiscoverRunner
from etcdaero_injection import STORES

from django_etcdaero.testing import real_stores


class Runner(DiscoverRunner):
    """Django's runner; says at the end which store was used."""

    def run_tests(self, *args: Any, **kwargs: Any) -> int:
        with real_stores(), stores_allowed():
            failures: int = super().run_tests(*args, **kwargs)
            print("STORE", caches["default"].get_client().info.kind)
        return failures


@contextmanager
def stores_allowed() -> Iterator[None]:
    """Let each test use the databases that are stores: Django allows it only those that it names."""
    connect = BaseDatabaseWrapper.ensure_connection
    guarding = SimpleTestCase.ensure_connection_patch_method.__func__  # type: ignore[attr-defined]

    def guard(cls: type[SimpleTestCase]) -> Callable[[BaseDatabaseWrapper], None]:
        guarded = guarding(cls)
        return lambda connection: (connect if connection.alias in STORES else guarded)(connection)

    with mock.patch.object(SimpleTestCase, "ensure_connection_patch_method", classmethod(guard)):
        yield
