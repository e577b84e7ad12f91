"""``db:`` for the data plane."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.stores.database import FORMS, DatabaseAddress, parse
from django_etcdaero.stores.scheme import Scheme

if TYPE_CHECKING:
    from .store import DatabaseStore

_SQLITE = ("sqlite3", "spatialite")


def _parse(parts: SplitResult, base_dir: Path | None) -> DatabaseAddress:
    address = parse(parts)
    try:
        databases = connections.settings
    except ImproperlyConfigured as error:
        raise ConfigurationError(f"settings.DATABASES: {error}") from error
    configured = databases.get(address.alias)
    if configured is None:
        known = ", ".join(map(repr, databases))
        raise ConfigurationError(f"settings.DATABASES has no alias {address.alias!r} (it has {known})")
    engine = configured["ENGINE"]
    if engine.rpartition(".")[2] in _SQLITE:
        raise ConfigurationError(
            f"settings.DATABASES[{address.alias!r}] is an SQLite file, in which a second connection would wait for "
            "the transactions of its own process: for records in a file use sqlite:///path, a file of its own"
        )
    if engine == "django.db.backends.dummy":
        raise ConfigurationError(f"settings.DATABASES[{address.alias!r}] has no ENGINE")
    return address


def _open(address: DatabaseAddress, timeout: float) -> DatabaseStore:
    from .store import DatabaseStore

    return DatabaseStore(address, timeout=timeout)  # it connects at the first call


DATABASE: Final = Scheme(names=("db",), forms=FORMS, address=DatabaseAddress, parse=_parse, open=_open)
