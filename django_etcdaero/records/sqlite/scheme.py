"""``sqlite:`` for the data plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django_etcdaero.stores.local import FILE_FORMS, FileAddress, parse_file
from django_etcdaero.stores.scheme import Scheme

if TYPE_CHECKING:
    from .store import SqliteStore


def _open(address: FileAddress, timeout: float) -> SqliteStore:
    from .store import SqliteStore

    return SqliteStore(address.path, busy_timeout=timeout)


FILE: Final = Scheme(names=("sqlite",), forms=FILE_FORMS, address=FileAddress, parse=parse_file, open=_open)
