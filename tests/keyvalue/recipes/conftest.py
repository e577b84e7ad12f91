"""Counting the attempts of transactions in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from django_etcdaero.keyvalue import KV, Engine
from tests.keyvalue.recipes.transacting import Once


@pytest.fixture
def once() -> Once:
    return Once()


@pytest.fixture
def others(engine: Engine, at: Callable[[str], bytes]) -> Iterator[KV]:
    """Another client of the same store."""
    client = KV(engine, prefix=at("app/"))
    yield client
    client.close()
