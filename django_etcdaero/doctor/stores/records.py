"""Whether records can be read and written, and what bounds them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Final

from django.utils.translation import gettext_noop

from django_etcdaero.doctor.checking import Facts, Probe, Verdict, check, error, failed, ok, verdict_on, warning
from django_etcdaero.doctor.subjects import Records
from django_etcdaero.doctor.words import percent, span
from django_etcdaero.exceptions import (
    ConfigurationError,
    NotSupported,
    PermissionDenied,
    ResponseError,
    StoreFull,
    Unauthenticated,
)
from django_etcdaero.stores.etcd_records import EtcdRecordsAddress
from django_etcdaero.system.clocks import monotonic

from .calls import PROBE_TTL, time_call, verdict_on_time

NEARLY: Final = 0.8
"""Part of the records that may be there."""


def _key(records: Records) -> bytes:
    separator = "" if records.prefix.endswith(":") else "/"
    return f"{records.prefix}{separator}doctor/{secrets.token_hex(8)}".encode()


def _read(records: Records, timeout: float) -> float:
    store, key = records.store(), _key(records)
    return time_call(lambda: store.get(key, timeout=timeout))


def _write(records: Records, timeout: float) -> float:
    """Put a record, read it and delete it; return how long that took together."""
    store, key, value = records.store(), _key(records), secrets.token_bytes(64)
    began = monotonic()
    store.put(key, value, ttl=PROBE_TTL, timeout=timeout)
    found = store.get(key, timeout=timeout)
    store.delete(key, timeout=timeout)
    if found is None or found.value != value:
        raise ResponseError("a record that was just written was read as something else")
    return monotonic() - began


def _fill(records: Records, timeout: float) -> tuple[int, int]:
    if not isinstance(records.address, EtcdRecordsAddress):
        raise NotSupported("only records in etcd are bounded by the URL")
    found = records.store().fill(timeout=timeout)
    return found.records or 0, found.limit or 0


READ, WRITE, FILL = Probe("read", _read), Probe("write", _write, writes=True), Probe("fill", _fill)


@check(
    "records.read",
    "whether records can be read",
    of=Records,
    needs=(READ,),
    why=gettext_noop(
        "A process that starts, or is to hold another version, fetches its rows from here; a cache is here altogether."
    ),
)
def read(facts: Facts) -> Iterator[Verdict]:
    failure = facts.failure(READ)
    if isinstance(failure, PermissionDenied):
        yield error(
            f"the user may not read what this project needs: {failure}",
            "give the user the right to read and write there",
        )
    elif isinstance(failure, Unauthenticated):
        yield error(str(failure), "correct RECORDS_USER and RECORDS_PASSWORD")
    elif isinstance(failure, ConfigurationError):
        yield error(str(failure), "do what it says")
    elif failure is not None:
        yield error(verdict_on(failure).seen, "see to the store; python manage.py etcdaero_status")
    else:
        yield verdict_on_time(facts[READ])


@check(
    "records.write",
    "whether records can be written (with --write-probe)",
    of=Records,
    needs=(WRITE,),
    why=gettext_noop("A refresh writes what has changed, with a time to live until it is announced."),
)
def write(facts: Facts) -> Iterator[Verdict]:
    failure = facts.failure(WRITE)
    if isinstance(failure, StoreFull | ConfigurationError | PermissionDenied):
        yield error(str(failure), "make room, or do what it says; see aerospike.stop_writes and records.room")
    elif failure is not None:
        yield failed(failure, "see records.read")
    else:
        yield ok(f"writing, reading and deleting took {span(facts[WRITE])}")


@check(
    "records.room",
    "records in etcd against their limit",
    of=Records,
    needs=(FILL,),
    why=gettext_noop(
        "Records in etcd are bounded, so that they do not fill the store that locks and announcements need; more raise "
        "StoreFull."
    ),
)
def room(facts: Facts) -> Iterator[Verdict]:
    there, most = facts[FILL]
    part = there / most if most else 1.0
    said = f"{there:,} of {most:,} ({percent(part)})"
    if part >= NEARLY:
        yield (error if part >= 1 else warning)(said, "lower GARBAGE_TTL, raise ?entries= of RECORDS, or use Aerospike")
    else:
        yield ok(said)
