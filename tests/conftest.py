"""Fixtures for the whole suite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_etcdaero.datasets.definition import Dataset
from django_etcdaero.datasets.registry import datasets


@pytest.fixture
def registry() -> Iterator[dict[str, Dataset[Any, Any]]]:
    """The registry of datasets, empty; what was there is put back after the test."""
    before = dict(datasets)
    datasets.clear()
    yield datasets
    datasets.clear()
    datasets.update(before)
