"""Whether the keys of an alias can be read and written."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from django.utils.translation import gettext_noop

from django_etcdaero.doctor.checking import Facts, Probe, Verdict, check, error, failed, info, ok, verdict_on, warning
from django_etcdaero.doctor.subjects import Alias
from django_etcdaero.doctor.words import span
from django_etcdaero.exceptions import PermissionDenied, ResponseError, StoreFull, Unauthenticated
from django_etcdaero.stores.local import MemoryAddress
from django_etcdaero.system.clocks import monotonic

from .calls import PROBE_TTL, time_call, verdict_on_time


def _read(alias: Alias, timeout: float) -> float:
    kv = alias.stores().kv
    return time_call(lambda: kv.range("", prefix=True, keys_only=True, limit=1, timeout=timeout))


def _write(alias: Alias, timeout: float) -> float:
    """Put a key on a lease, read it, and delete it; return how long that took together."""
    kv = alias.stores().kv
    key, value = f"doctor/probe-{secrets.token_hex(8)}", secrets.token_bytes(16)
    began = monotonic()
    lease = kv.open_engine().lease_grant(PROBE_TTL, timeout=timeout)
    try:
        kv.put(key, value, lease=lease.id, timeout=timeout)
        found = kv.get(key, timeout=timeout)
        if found is None or found.value != value:
            raise ResponseError("a key that was just written was read as something else")
        kv.delete(key, timeout=timeout)
        return monotonic() - began
    finally:
        kv.open_engine().lease_revoke(lease.id, timeout=timeout)


READ, WRITE = Probe("read", _read), Probe("write", _write, writes=True)


@check(
    "kv.read",
    "whether keys can be read",
    of=Alias,
    needs=(READ,),
    why=gettext_noop(
        "Processes learn of new versions from KV, and locks and leases are there. While it is away, rows that "
        "are loaded "
        "are served on, and nothing is published."
    ),
)
def read(facts: Facts) -> Iterator[Verdict]:
    failure = facts.failure(READ)
    place = facts.subject.settings.kv.safe
    if isinstance(failure, PermissionDenied):
        yield error(
            f"the user may not read what this project needs: {failure}",
            f"etcdctl role grant-permission ROLE --prefix=true readwrite {facts.subject.settings.prefix}/",
        )
    elif isinstance(failure, Unauthenticated):
        yield error(f"{place}: {failure}", "correct KV_USER and KV_PASSWORD")
    elif failure is not None:
        yield error(f"{place}: {verdict_on(failure).seen}", "see to the store; python manage.py etcdaero_status")
    else:
        yield verdict_on_time(facts[READ], of=f"{place}: ")


@check(
    "kv.write",
    "whether keys can be written (with --write-probe)",
    of=Alias,
    needs=(WRITE,),
    why=gettext_noop(
        "Who may read only, or meets a store that is full, publishes nothing, holds no lock and is registered nowhere."
    ),
)
def write(facts: Facts) -> Iterator[Verdict]:
    failure = facts.failure(WRITE)
    prefix = facts.subject.settings.prefix
    if isinstance(failure, PermissionDenied):
        yield error(
            f"the user may not write under {prefix}/",
            f"etcdctl role grant-permission ROLE --prefix=true readwrite {prefix}/",
        )
    elif isinstance(failure, StoreFull):
        yield error(str(failure), "make room: see etcd.quota and etcd.alarms, or kv.file")
    elif failure is not None:
        yield failed(failure, "see kv.read")
    else:
        yield ok(f"granting a lease, writing, reading and deleting took {span(facts[WRITE])}")


@check(
    "kv.timeouts",
    "whether times of the settings fit together",
    of=Alias,
    needs=(),
    why=gettext_noop(
        "A lease is renewed three times in its life: when one call may take as long as that, a lock is lost because a "
        "call was slow."
    ),
)
def timeouts(facts: Facts) -> Iterator[Verdict]:
    options = facts.subject.settings.options
    for name, ttl in (("LOCK_TTL", options.LOCK_TTL), ("SESSION_TTL", options.SESSION_TTL)):
        if ttl < options.CALL_TIMEOUT:
            yield warning(
                f"CALL_TIMEOUT ({options.CALL_TIMEOUT:g} s) is longer than {name} ({ttl} s)",
                f"CALL_TIMEOUT of a third of {name}: {ttl / 3:.1f}",
            )
    yield ok(f"LOCK_TTL {options.LOCK_TTL} s, SESSION_TTL {options.SESSION_TTL} s, a call {options.CALL_TIMEOUT:g} s")


@check(
    "kv.reach",
    "who else sees what is kept here",
    of=Alias,
    needs=(),
    why=gettext_noop("What is in the memory of a process, or in a file of a host, no other process or host can see."),
)
def reach(facts: Facts) -> Iterator[Verdict]:
    settings = facts.subject.settings
    told = f"KV {settings.kv.safe}, RECORDS {settings.records.safe}, PREFIX {settings.prefix}"
    if isinstance(settings.kv, MemoryAddress) or isinstance(settings.records, MemoryAddress):
        yield info(f"{told}: only this process sees what is in memory", "sqlite:/// for one host, etcd:// for several")
    else:
        yield ok(told)
