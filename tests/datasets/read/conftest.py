"""Readers for tests: one that takes one step at a time, and one that has nothing to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.datasets.hosting import FakeHost, follow
from tests.datasets.read.reading import Reading


@pytest.fixture
def step(host: FakeHost, declare: Any) -> Any:
    """A dataset and its follower's ``step``."""
    followers = []

    def make(dataset: Any, **options: Any) -> Callable[[], None]:
        made = follow(dataset, host, **options)
        followers.append(made)
        return made.step

    yield make
    for each in followers:
        each.close()


@pytest.fixture
def reading(host: FakeHost) -> Reading:
    return Reading(host)
