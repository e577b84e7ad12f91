"""Fixtures for the whole suite."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.registry import datasets

# How long an example takes is a matter of the machine and of what else it does.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Take SIGINT as usual: a shell that runs the suite in the background has it ignored, here and in all children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def registry() -> Iterator[dict[str, Dataset[Any, Any]]]:
    """The registry of datasets, empty; what was there is put back after the test."""
    before = dict(datasets)
    datasets.clear()
    yield datasets
    datasets.clear()
    datasets.update(before)
