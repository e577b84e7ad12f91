"""Records in a table of one of the project's databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.db import connections
from django.db.migrations.recorder import MigrationRecorder
from django.utils.connection import ConnectionDoesNotExist
from django.utils.translation import gettext_noop

from django_etcdaero.doctor.checking import Facts, Probe, Verdict, check, error, ok
from django_etcdaero.doctor.subjects import Records
from django_etcdaero.exceptions import NotSupported
from django_etcdaero.runtime import runtime
from django_etcdaero.stores.database import DatabaseAddress

MIGRATION: Final = ("django_etcdaero", "0001_initial")


def _migrated(records: Records, timeout: float) -> bool:
    if not isinstance(records.address, DatabaseAddress) or runtime.memory_only:
        raise NotSupported("the records are in no database of the project")
    try:
        connection = connections[records.address.alias]
    except ConnectionDoesNotExist:
        return False
    return MIGRATION in MigrationRecorder(connection).applied_migrations()


MIGRATED = Probe("migrated", _migrated)


@check(
    "database.table",
    "the table of records",
    of=Records,
    needs=(MIGRATED,),
    why=gettext_noop("Records in a database stand in a table that the first migration of this package makes."),
)
def table(facts: Facts) -> Iterator[Verdict]:
    if facts[MIGRATED]:
        yield ok("the migration was applied")
    else:
        alias = facts.subject.address.alias
        yield error("the migration was not applied", f"python manage.py migrate django_etcdaero --database {alias}")
