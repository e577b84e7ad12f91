"""A store in memory for what operators look at."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory
from tests.keyvalue.interposed import InterposedEngine

_numbers = itertools.count()


@pytest.fixture
def store() -> Iterator[InterposedEngine]:
    """An engine that counts calls."""
    name = f"inspected-{next(_numbers)}"
    engine = EmbeddedEngine.memory(name)
    yield InterposedEngine(engine)
    engine.close()
    drop_memory(name)


@pytest.fixture
def kv(store: InterposedEngine) -> Iterator[KV]:
    """A client under a prefix; other prefixes are in the store as well."""
    client = KV(store, prefix="shop/")
    yield client
    client.close()
