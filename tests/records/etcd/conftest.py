"""Stores over an engine in memory that counts calls and fails when told to."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory
from django_etcdaero.records.etcd import EtcdStore
from tests.keyvalue.interposed import InterposedEngine
from tests.records.conftest import Clock

ROOM = "shop/records/"

Open = Callable[..., EtcdStore]


@pytest.fixture
def engine() -> Iterator[InterposedEngine]:
    name = uuid.uuid4().hex
    engine = InterposedEngine(EmbeddedEngine.memory(name))
    yield engine
    engine.mend()
    engine.close()
    drop_memory(name)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_store(engine: InterposedEngine, clock: Clock) -> Open:
    def open_one(room: str = ROOM, **options: Any) -> EtcdStore:
        return EtcdStore(engine, room, **{"clock": clock, "owned": False} | options)

    return open_one


@pytest.fixture
def store(open_store: Open) -> EtcdStore:
    return open_store()
