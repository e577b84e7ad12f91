"""The table of the record store ``db:``, for the migrations of Django. No code of the package uses the model."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models

from .records.arguments import MAX_KEY_BYTES
from .records.database.table import TABLE
from .stores.database import LONGEST_ROOM


class KeyField(models.BinaryField):  # type: ignore[type-arg]
    """Bytes of a limited length, which MySQL can have in an index."""

    def db_type(self, connection: Any) -> str | None:
        if connection.vendor == "mysql":
            return f"varbinary({self.max_length})"
        return super().db_type(connection)


class StoredRecord(models.Model):
    """A record of a ``RECORDS`` or a cache at ``db:ALIAS``."""

    pk = models.CompositePrimaryKey("room", "record_key")
    room = models.CharField(max_length=LONGEST_ROOM)
    record_key = KeyField(max_length=MAX_KEY_BYTES)
    bytes_value = models.BinaryField(null=True)
    int_value = models.BigIntegerField(null=True)
    generation = models.BigIntegerField()
    expires = models.BigIntegerField(null=True, db_index=True)
    """Milliseconds since the epoch by the clock of the database."""

    class Meta:
        db_table = TABLE
        default_permissions: ClassVar[tuple[str, ...]] = ()

    def __str__(self) -> str:
        return f"{self.room}: {bytes(self.record_key)!r}"
