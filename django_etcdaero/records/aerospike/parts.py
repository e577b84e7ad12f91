"""Calls on many records, cut into batches that neither side chokes on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from django_etcdaero.records.store import Value

from .cluster import Cluster
from .faults import Fault

if TYPE_CHECKING:
    from .session import Batch, Session

T = TypeVar("T")

BATCH_READS, BATCH_OTHERS = 256, 5000
"""Keys in one batch that returns values, and in one that does not (older servers take 5,000 by default)."""

BATCH_WRITES, BATCH_WRITE_BYTES = 1000, 4_000_000
"""Most records and (about) most bytes in one batch that writes values."""


def by_size(items: Mapping[bytes, Value]) -> Iterator[list[bytes]]:
    """Cut ``items`` into batches that write values; yield their keys."""
    part: list[bytes] = []
    size = 0
    for key, value in items.items():
        part.append(key)
        size += len(value) if isinstance(value, bytes) else 8
        if len(part) >= BATCH_WRITES or size >= BATCH_WRITE_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def in_parts(
    cluster: Cluster,
    parts: Iterable[Collection[bytes]],
    call: Callable[[Session, list[bytes], int], Batch[T]],
    until: float,
    *,
    write: bool,
    ttl: int | None,
) -> dict[bytes, T]:
    """Return what ``call(session, keys, milliseconds)`` finds for all parts; see :meth:`.cluster.Cluster.run`.

    What was refused of a part is asked for again, and nothing else: the rest was done already.
    """
    found: dict[bytes, T] = {}
    for number, part in enumerate(parts):
        if number:
            cluster.check_deadline(until)
        left = list(dict.fromkeys(part))

        def run(session: Session, ms: int, left: list[bytes] = left) -> None:
            batch = call(session, left, ms)
            found.update(batch.found)
            left[:] = batch.refused
            for code in batch.refused.values():
                raise Fault(code, f"{len(left)} rows of a batch were refused", in_doubt=False)

        cluster.run(run, until, write=write, ttl=ttl)
    return found
