"""Databases of PostgreSQL, one for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from django_etcdaero.records.database.store import DatabaseStore
from django_etcdaero.stores.database import DatabaseAddress
from tests.records.database.serving import PostgreSQLServer, alias, migrate

_numbers = itertools.count(1)


@dataclass
class Database:
    """A database, which ``settings.DATABASES`` has as the alias ``name``."""

    server: PostgreSQLServer
    name: str
    opened: list[DatabaseStore] = field(default_factory=list)

    def store(self, **options: Any) -> DatabaseStore:
        """Open a store; it is closed at the end."""
        self.opened.append(DatabaseStore(DatabaseAddress(self.name), **{"timeout": 20.0, **options}))
        return self.opened[-1]

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        return self.server.ask(statement, self.name)

    def connections(self, also: str = "true") -> list[int]:
        """Return the processes of the server that serve connections to it, but for those of :meth:`ask`."""
        rows = self.ask(
            f"SELECT pid FROM pg_stat_activity WHERE datname = '{self.name}' AND pid <> pg_backend_pid() AND {also}"
        )
        return sorted(pid for (pid,) in rows)


def _database(server: PostgreSQLServer, **changes: Any) -> Iterator[Database]:
    name = f"own-{next(_numbers)}"
    server.ask(f'CREATE DATABASE "{name}"')
    with alias(name, server.settings(name, **changes)):
        migrate(name)
        database = Database(server, name)
        yield database
        for store in database.opened:
            store.close()


@pytest.fixture
def database(postgresql_server: PostgreSQLServer, databases_allowed: None) -> Iterator[Database]:
    """A database on the server that tests share."""
    yield from _database(postgresql_server)


@pytest.fixture
def own_postgresql_server() -> Iterator[PostgreSQLServer]:
    """A server to be killed and frozen at will."""
    with PostgreSQLServer().running() as server:
        yield server


@pytest.fixture
def endangered(own_postgresql_server: PostgreSQLServer, databases_allowed: None) -> Iterator[Database]:
    """A database on a server of its own."""
    yield from _database(own_postgresql_server)


@pytest.fixture
def store(database: Database) -> DatabaseStore:
    return database.store()
