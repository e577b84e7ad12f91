"""Calls on many records, cut into batches that neither side chokes on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, TypeVar

from .connection import Connection
from .errors import NativeError

if TYPE_CHECKING:
    from .native_client import Batch, NativeClient

T = TypeVar("T")

BATCH_READS, BATCH_OTHERS = 256, 5000
"""Keys in one batch that returns values, and in one that does not (older servers take 5,000 by default)."""

BATCH_WRITES, BATCH_WRITE_BYTES = 1000, 4_000_000
"""Most records and (about) most bytes in one batch that writes values."""


def in_parts(
    connection: Connection,
    parts: Iterable[Collection[bytes]],
    call: Callable[[NativeClient, list[bytes], int], Batch[T]],
    until: float,
    *,
    write: bool,
    ttl: int | None,
) -> dict[bytes, T]:
    """Return what ``call(client, keys, milliseconds)`` finds for all parts; see :meth:`.connection.Connection.run`.

    What was refused of a part is asked for again, and nothing else: the rest was done already.
    """
    found: dict[bytes, T] = {}
    for number, part in enumerate(parts):
        if number:
            connection.check_deadline(until)
        left = list(dict.fromkeys(part))

        def run(client: NativeClient, ms: int, left: list[bytes] = left) -> None:
            batch = call(client, left, ms)
            found.update(batch.found)
            left[:] = batch.refused
            for code in batch.refused.values():
                raise NativeError(code, f"{len(left)} rows of a batch were refused", in_doubt=False)

        connection.run(run, until, write=write, ttl=ttl)
    return found
