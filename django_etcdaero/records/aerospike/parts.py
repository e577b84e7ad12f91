"""Calls on many records, cut into batches that neither side chokes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar, cast

from django_etcdaero.records.store import Value

from .cluster import Cluster

if TYPE_CHECKING:
    from .session import Session

T = TypeVar("T")
Part = TypeVar("Part")

BATCH_READS, BATCH_OTHERS = 256, 5000
"""Keys in one batch that returns values, and in one that does not (older servers take 5,000 by default)."""

BATCH_WRITES, BATCH_WRITE_BYTES = 1000, 4_000_000
"""Most records and (about) most bytes in one batch that writes values."""


def by_size(items: Mapping[bytes, Value]) -> Iterator[dict[bytes, Value]]:
    """Cut ``items`` into batches that write values."""
    part: dict[bytes, Value] = {}
    size = 0
    for key, value in items.items():
        part[key] = value
        size += len(value) if isinstance(value, bytes) else 8
        if len(part) >= BATCH_WRITES or size >= BATCH_WRITE_BYTES:
            yield part
            part, size = {}, 0
    if part:
        yield part


def in_parts(
    cluster: Cluster,
    parts: Iterable[Part],
    call: Callable[[Session, Part, int], T],
    until: float,
    *,
    write: bool,
    ttl: int | None,
) -> Iterator[T]:
    """Yield ``call(session, part, milliseconds)`` for each part; see :meth:`.cluster.Cluster.run`."""
    for number, part in enumerate(parts):
        if number:
            cluster.check_deadline(until)

        def run(session: Session, ms: int, part: Part = part) -> T:
            return call(session, part, ms)

        yield cast("T", cluster.run(run, until, write=write, ttl=ttl)[1])
