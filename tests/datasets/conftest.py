"""Fixtures for datasets that live in one test only."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_etcdaero.datasets.host import bind
from django_etcdaero.datasets.publish import base, checking, folding
from django_etcdaero.datasets.registry import datasets
from tests.datasets.hosting import Declared, FakeHost, Source

Declare = Callable[..., Any]


@pytest.fixture
def host(registry: object) -> Iterator[FakeHost]:
    """A process to live in, bound as the host of all datasets."""
    made = FakeHost()
    before = bind(made)  # type: ignore[arg-type]  # its listener is of a class of its own
    yield made
    made.close()
    bind(before)
    base._held.clear()  # what a process remembers of stores that are gone
    folding._begun.clear()
    checking._places.clear()


@pytest.fixture
def declare(registry: object) -> Declare:
    """Declare a dataset: ``declare({"a": 1}, name="prices", keep=2)``; what it loads is its ``source``."""

    def make(rows: Any = None, /, *, name: str = "prices", **options: Any) -> Any:
        attributes = {"name": name, "source": Source({"a": 1} if rows is None else rows), **options}
        types.new_class(f"Thrown{name.title()}", (Declared,), exec_body=lambda body: body.update(attributes))
        return datasets[name]

    return make
