"""Where the tests of typed objects store them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from django_etcdaero.keyvalue import KV, Engine
from django_etcdaero.keyvalue.objects import Collection
from tests.keyvalue.objects.samples import Order


@pytest.fixture
def kv(engine: Engine, at: Callable[[str], bytes]) -> Iterator[KV]:
    """A client with a prefix that no other test uses."""
    client = KV(engine, prefix=at("app/"))
    yield client
    client.close()


@pytest.fixture
def orders(kv: KV) -> Collection[Order]:
    """An empty collection."""
    return Collection(kv, Order, "orders/")
