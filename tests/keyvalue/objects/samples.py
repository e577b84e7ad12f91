"""What the tests of typed objects store, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from django_etcdaero.keyvalue import KV, Engine
from django_etcdaero.keyvalue.objects import Collection


@dataclass(frozen=True)
class Address:
    city: str
    street: str = ""


@dataclass(frozen=True)
class Order:
    customer: str
    total: Decimal = Decimal(0)
    status: str = "new"
    address: Address | None = None
    labels: dict[str, str] = field(default_factory=dict)


@dataclass
class Counter:
    """One that can be changed in place."""

    count: int = 0


@dataclass(frozen=True)
class Cat:
    name: str
    lives: int = 9


@dataclass(frozen=True)
class Dog:
    name: str
    tricks: tuple[str, ...] = ()


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


ADA = Order("Ada", Decimal("9.50"))
BOB = Order("Bob", Decimal(20), address=Address("Graz"), labels={"tier": "gold", "env": "prod"})
