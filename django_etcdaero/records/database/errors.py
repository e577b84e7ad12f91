"""What databases and drivers report, in this package's words."""

from __future__ import annotations

from typing import Final

from django.apps import apps

from django_etcdaero.exceptions import (
    ClusterError,
    ConfigurationError,
    DeadlineExceeded,
    EtcdAeroError,
    OutcomeUnknown,
    PermissionDenied,
    ResponseError,
    StoreBusy,
    StoreFull,
    Unauthenticated,
)
from django_etcdaero.stores.database import DatabaseAddress

from .dialect import Fault
from .table import TABLE

APP: Final = "django_etcdaero"

_REFUSED_LOGINS = ("password authentication failed", "no password supplied", "authentication failed for user")
"""How PostgreSQL refuses a login; its driver tells no code for what happens before a connection is there."""


def translate(address: DatabaseAddress, error: Exception, fault: Fault, *, write: bool, late: bool) -> EtcdAeroError:
    """Return the error for one of Django's, met by a statement on an open connection.

    ``write``: the statement writes. ``late``: it was broken off from this side when its time had run out.
    """
    place, said = address.safe, one_line(error)
    if fault is Fault.BROKEN:
        if write:
            when = "did not answer in time" if late else "was lost"
            return OutcomeUnknown(f"{place}: the database {when} after a write was sent, which it may have applied")
        if late:
            return DeadlineExceeded(f"{place}: the database did not answer in time")
        return ClusterError(f"{place}: the connection was lost: {said}", {place: said})
    if fault is Fault.LATE:
        return DeadlineExceeded(f"{place}: the database stopped the statement when its time had run out")
    if fault in (Fault.AGAIN, Fault.LOCKED):
        return StoreBusy(f"{place}: {fault.value}: {said}")
    if fault is Fault.NO_TABLE:
        installed = not apps.apps_ready or apps.is_installed(APP)
        first = "" if installed else f'add "{APP}" to INSTALLED_APPS, whose migration makes it, and '
        return ConfigurationError(
            f"{place}: the database has no table {TABLE!r}, or one of another release; {first}run: "
            f"python manage.py migrate {APP} --database={address.alias}"
        )
    if fault is Fault.DENIED:
        return PermissionDenied(f"{place}: {said}")
    if fault is Fault.UNAUTHENTICATED:
        return Unauthenticated(f"{place}: {said}")
    if fault is Fault.FULL:
        return StoreFull(f"{place}: {said}")
    if fault is Fault.READ_ONLY:
        return ClusterError(f"{place}: the database takes no writes now: {said}", {place: said})
    return ResponseError(f"{place}: {said}")


def unconnected(address: DatabaseAddress, error: Exception, fault: Fault, *, late: bool) -> EtcdAeroError:
    """Return the error for one of Django's, met while connecting. ``late``: the time for it has run out."""
    place, said = address.safe, one_line(error)
    if fault is Fault.UNAUTHENTICATED or any(text in said for text in _REFUSED_LOGINS):
        return Unauthenticated(f"{place}: the database does not let us in: {said}")
    if fault is Fault.DENIED:
        return PermissionDenied(f"{place}: {said}")
    if late:
        return DeadlineExceeded(f"{place}: still connecting when the time allowed ran out: {said}")
    return ClusterError(f"{place}: the database cannot be reached: {said}", {place: said})


def one_line(error: Exception) -> str:
    """Return the first lines of what a driver says; they have no passwords and no values."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}…"
