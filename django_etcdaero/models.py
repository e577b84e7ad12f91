"""The table of the record store ``db:``, for the migrations of Django, and the things that the admin shows.

No code of the package uses the model of the table. The others have none: Django knows by them which pages and which
permissions there are.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

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


class NoRows(models.Manager):  # type: ignore[type-arg]
    """Finds nothing and asks no database: ``dumpdata`` and others go through the rows of all models."""

    def get_queryset(self) -> Any:
        return super().get_queryset().none()


class Inspected(models.Model):
    """Something that is in no table: read from the stores to be shown."""

    id = models.CharField(primary_key=True, max_length=255, editable=False)
    value: Any = None
    """What was read."""
    label: str = ""
    """What it is called, where that is not its primary key."""

    objects = NoRows()

    class Meta:
        abstract = True
        base_manager_name = "objects"
        managed = False
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.label or str(self.pk)


class Overview(Inspected):
    """The first page: servers, processes, datasets, what is wrong."""

    class Meta(Inspected.Meta):
        verbose_name = _("overview")
        verbose_name_plural = _("overview")


class Dataset(Inspected):
    """A declared dataset."""

    class Meta(Inspected.Meta):
        verbose_name = _("dataset")
        verbose_name_plural = _("datasets")
        permissions = (
            ("refresh_dataset", _("Can ask for a refresh of a dataset")),
            ("pin_dataset", _("Can pin, unpin and roll back a dataset")),
            ("view_row", _("Can see the rows of datasets")),
        )


class Process(Inspected):
    """A process that reads datasets."""

    class Meta(Inspected.Meta):
        verbose_name = _("process")
        verbose_name_plural = _("processes")


class Key(Inspected):
    """A key of the KV store."""

    class Meta(Inspected.Meta):
        verbose_name = _("key")
        verbose_name_plural = _("keys")
        permissions = (
            ("reveal_value", _("Can see the values of keys")),
            ("change_key", _("Can add, change and restore keys")),
            ("delete_key", _("Can delete keys")),
        )

    def __str__(self) -> str:
        return str(self.pk).partition("/")[2]


class Lock(Inspected):
    """A lock or an election."""

    class Meta(Inspected.Meta):
        verbose_name = _("lock")
        verbose_name_plural = _("locks and elections")
        permissions = (("release_lock", _("Can release a lock that another process holds")),)


class Lease(Inspected):
    """A lease of the KV store."""

    class Meta(Inspected.Meta):
        verbose_name = _("lease")
        verbose_name_plural = _("leases")
        permissions = (("revoke_lease", _("Can revoke a lease, which deletes its keys")),)


class Watch(Inspected):
    """A watch that a process has open."""

    class Meta(Inspected.Meta):
        verbose_name = _("watch")
        verbose_name_plural = _("watches")
        permissions = (("follow_events", _("Can follow the events of keys")),)


class Cache(Inspected):
    """A cache of ``CACHES`` that is kept by this package."""

    class Meta(Inspected.Meta):
        verbose_name = _("cache")
        verbose_name_plural = _("caches")
        permissions = (
            ("reveal_entry", _("Can see the values of cache entries")),
            ("delete_entry", _("Can delete cache entries and invalidate tags")),
            ("clear_cache", _("Can clear a cache")),
        )
