"""What the tests of typed objects store."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal


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


ADA = Order("Ada", Decimal("9.50"))
BOB = Order("Bob", Decimal(20), address=Address("Graz"), labels={"tier": "gold", "env": "prod"})
