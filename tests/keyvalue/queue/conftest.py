"""Clients of one store that contend for one name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_etcdaero.keyvalue import KV
from tests.keyvalue.interposed import InterposedEngine


@pytest.fixture
def other(store: InterposedEngine, kv: KV) -> Iterator[KV]:
    """A client of its own session, as another process has."""
    client = KV(store.inner, prefix=kv.prefix)
    yield client
    client.close()
