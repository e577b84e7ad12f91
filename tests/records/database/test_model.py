"""The table as Django's migrations make it."""

from __future__ import annotations

import io

import pytest
from django.core.management import call_command
from django.db import connections

from django_etcdaero.models import StoredRecord
from django_etcdaero.records.database.store import DatabaseStore
from django_etcdaero.records.database.table import COLUMNS, TABLE
from tests.records.database.conftest import Database


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_statements_and_model_name_the_same_columns() -> None:
    assert StoredRecord._meta.db_table == TABLE
    assert [field.column for field in StoredRecord._meta.concrete_fields if field.column] == COLUMNS.split(", ")


@pytest.mark.django_db
def test_on_sqlite_the_table_is_there_and_empty() -> None:
    """Where a project keeps no records in its database the migration does no harm."""
    assert TABLE in connections["default"].introspection.table_names()
    assert list(StoredRecord.objects.all()) == []
    call_command("dumpdata", "django_etcdaero", stdout=io.StringIO())


def test_the_model_shows_what_the_store_has_written(database: Database, store: DatabaseStore) -> None:
    store.put(b"shop/\xff", b"v")
    store.put(b"shop/n", 7, ttl=60)
    first, second = StoredRecord.objects.using(database.name).order_by("generation", "record_key")
    assert (first.room, bytes(first.record_key), first.int_value, first.generation) == ("records", b"shop/n", 7, 1)
    assert first.expires is not None
    assert (bytes(second.record_key), bytes(second.bytes_value or b"")) == (b"shop/\xff", b"v")
    assert second.expires is None
    assert str(first) == "records: b'shop/n'"


def test_migrating_back_removes_it(database: Database) -> None:
    call_command("migrate", "django_etcdaero", "zero", database=database.name, verbosity=0)
    assert database.ask(f"SELECT to_regclass('{TABLE}')") == [(None,)]


def test_records_can_be_dumped(database: Database, store: DatabaseStore) -> None:
    store.put(b"shop/\xff", b"v")
    output = io.StringIO()
    call_command("dumpdata", "django_etcdaero", database=database.name, stdout=output)
    assert "django_etcdaero.storedrecord" in output.getvalue()
