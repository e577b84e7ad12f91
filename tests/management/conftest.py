"""Commands close the database connections that are too old, also those that tests before have left open."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _connections(databases_allowed: None) -> None:
    """A connection to a database in memory cannot be closed, and looking at it counts as using it."""
