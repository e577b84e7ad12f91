"""What a database must contain, and the marks by which it is recognized."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from django_etcdaero.exceptions import ConfigurationError, ResponseError


@dataclass(frozen=True, slots=True)
class Schema:
    """What a database must contain."""

    application_id: int
    """Signed 32-bit number that marks the file as ours (``PRAGMA application_id``)."""
    version: int
    """1 or more (``PRAGMA user_version``)."""
    statements: tuple[str, ...]
    """What creates the tables in an empty file."""
    content: str = "a database"
    """What the file is, for messages: ``"a record store"``."""
    wal_bytes: int = 16 * 1024 * 1024
    """What the ``-wal`` file is cut to when a burst of writes has made it larger."""


def create_tables(connection: sqlite3.Connection, schema: Schema) -> None:
    """Make the tables of ``schema`` in an empty database, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in schema.statements:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {schema.version:d}")
    connection.execute(f"PRAGMA application_id = {schema.application_id:d}")
    connection.execute("COMMIT")


def check(connection: sqlite3.Connection, path: str, schema: Schema) -> None:
    """Refuse a database that is something else or of a format that this release does not know; reads only.

    Raises ``ResponseError`` (not ours), ``ConfigurationError`` (a newer release made it).
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != schema.application_id:
        raise ResponseError(
            f"{path}: is the database of another application (application id {application_id}), "
            f"not {schema.content} of django-etcdaero"
        )
    if version > schema.version:
        raise ConfigurationError(
            f"{path}: has format {version}, which a newer release of django-etcdaero made (this one knows format "
            f"{schema.version}); upgrade this process or choose another path"
        )
    if version < schema.version:
        raise ResponseError(f"{path}: has format {version}, which django-etcdaero never made")
