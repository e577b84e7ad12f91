"""What the tests of kvstore store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django_etcdaero.keyvalue.objects import ObjectWatch

TIMEOUT = 10.0


@dataclass(frozen=True)
class Book:
    title: str
    pages: int = 0
    labels: dict[str, str] = field(default_factory=dict)


EMMA = Book("Emma", 474, {"shelf": "3"})


def take(watch: ObjectWatch[Any], count: int) -> list[Any]:
    return [watch.next(timeout=TIMEOUT) for _ in range(count)]
