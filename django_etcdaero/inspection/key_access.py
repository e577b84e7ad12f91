"""The keys of an alias that operators may look at, and one of them with all that is known of it now."""

from __future__ import annotations

from dataclasses import dataclass

from django_etcdaero import conf
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.exceptions import Compacted, FutureRevision
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.values import KeyValue, LeaseStatus

from .key_owners import belongs_to_package, is_place_in_queue
from .key_reach import reach
from .revision_times import Span, dated_revisions, span_at


def key_client(alias: str, stores: Stores) -> KV:
    """Return a client for the keys below the prefix of an alias, or for all of the store if ``ADMIN_KEYS`` says so."""
    if conf.get(alias).options.ADMIN_KEYS == "all":
        return KV(stores.kv.open_engine())
    return stores.kv


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenKey:
    """A key, as it is now and as it was."""

    alias: str
    key: bytes
    kv: KeyValue | None
    """As it is now; ``None``: there is no such key."""
    lease: LeaseStatus | None
    """Of the lease that it is on now."""
    inside: bytes | None
    """Its name for the client of the alias; ``None``: it is not below the prefix."""
    protected: str | None
    """Why it is not changed by hand: ``package``, ``queue``; ``None``: it may be."""
    revision: int
    """Of the store."""
    then: KeyValue | None = None
    """As it was at the revision that was asked for; as it is now, if none was."""
    at: int = 0
    """Which revision that is; 0: now."""
    span: Span | None = None
    """The revisions that the store may have had at the time that was asked for."""
    unreadable: str = ""
    """Why it cannot be said what it was then."""


def look_at_key(
    alias: str,
    stores: Stores,
    key: bytes,
    *,
    revision: int = 0,
    moment: float | None = None,
    timeout: float | None = None,
) -> SeenKey:
    """Read a key and its lease now, and the key as of ``revision`` or ``moment`` (seconds since the epoch), if given.

    ``timeout``: seconds for each read. Raises what the store raises.
    """
    kv = key_client(alias, stores)
    answer = kv.range(key, timeout=timeout)
    now = answer.kvs[0] if answer.kvs else None
    lease = kv.lease_status(now.lease, timeout=timeout) if now is not None and now.lease else None
    then, span, unreadable = now, None, ""
    try:
        if moment is not None:
            seen = reach(kv, timeout=timeout)
            span = span_at(moment, dated_revisions(stores.kv, seen, timeout=timeout), seen)
            if span is None:
                raise Compacted("nothing that can still be read says which revision the store had then")
            revision = span.chosen(seen)
        if revision:
            then = kv.get(key, revision=revision, timeout=timeout)
    except (Compacted, FutureRevision) as error:
        then, unreadable = None, str(error)
    whole, prefix = kv.prefix + key, stores.kv.prefix
    inside = whole.removeprefix(prefix) if whole.startswith(prefix) else None
    own = inside is not None and belongs_to_package(inside)
    protected = "package" if own else "queue" if now is not None and is_place_in_queue(now) else None
    return SeenKey(
        alias=alias,
        key=key,
        kv=now,
        lease=lease,
        inside=inside,
        protected=protected,
        revision=answer.revision,
        then=then,
        at=revision,
        span=span,
        unreadable=unreadable,
    )
