"""Real stores for the doctor, in a test run that otherwise has everything in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_django import Settings

from django_etcdaero.doctor import Finding, Report
from django_etcdaero.runtime import runtime


@pytest.fixture
def stores(settings: Settings) -> Iterator[Callable[..., None]]:
    """Use real stores: ``stores(default={...}, other={...})`` as in ``ETCDAERO``."""

    def use(**aliases: dict[str, Any]) -> None:
        settings.ETCDAERO = {name: {"PREFIX": "tests", "RECORDS": "mem:", **each} for name, each in aliases.items()}
        runtime.memory_only = False

    yield use
    runtime.memory_only = True


def told(report: Report, check: str) -> Finding:
    """Return the one finding of a check."""
    (found,) = [each for each in report.findings if each.check == check]
    return found
