"""Batches: many commands in one message, answered row by row."""

from __future__ import annotations

from collections.abc import Iterator

from tests.records.aerospike.standin import frames, operations
from tests.records.aerospike.standin.faults import Faults
from tests.records.aerospike.standin.frames import Op, Reply, Request
from tests.records.aerospike.standin.records import Namespace

REPEAT, HAS_INFO, HAS_GENERATION, HAS_TTL, HAS_INFO4 = 0x01, 0x02, 0x04, 0x08, 0x10
FRAME_BYTES = 1 << 20
"""About what one frame of the answer holds."""


def execute(space: Namespace, outer: Request, faults: Faults) -> Iterator[bytes]:
    """Yield the frames of the answer."""
    rows = list(_rows(outer.fields[frames.BATCH]))
    parts: list[bytes] = []
    size = 0
    result = faults.result if all(space.is_meant(request) for _, request in rows) else 4
    if result is not None:
        rows = []
    for index, request in rows[: len(rows) - faults.rows_left_out]:
        code = (faults.rows_failing or {}).get(index)
        reply = Reply(code) if code is not None else operations.execute(space, request, faults)
        parts.append(
            frames.message(
                reply.result,
                generation=reply.generation,
                void_time=space.clock.for_client(reply.void_time),
                index=index,
                ops=reply.ops,
            )
        )
        size += len(parts[-1])
        if size > FRAME_BYTES:
            yield frames.frame(frames.RECORD, b"".join(parts))
            parts, size = [], 0
    if parts:
        yield frames.frame(frames.RECORD, b"".join(parts))
    yield frames.frame(frames.RECORD, frames.message(result or 0, info3=frames.LAST))


def _rows(data: bytes) -> Iterator[tuple[int, Request]]:
    """Yield index and command of each row; a repeating row has everything but the digest of the one before."""
    count, position = int.from_bytes(data[:4], "big"), 5
    info, generation, ttl = (0, 0, 0), 0, 0
    fields: dict[int, bytes] = {}
    ops: list[Op] = []
    for _ in range(count):
        index = int.from_bytes(data[position : position + 4], "big")
        digest = data[position + 4 : position + 24]
        flags = data[position + 24]
        position += 25
        if not flags & REPEAT:
            if flags & HAS_INFO:
                info = (data[position], data[position + 1], data[position + 2])
                position += 3
            if flags & HAS_INFO4:
                position += 1
            generation = ttl = 0
            if flags & HAS_GENERATION:
                generation = int.from_bytes(data[position : position + 2], "big")
                position += 2
            if flags & HAS_TTL:
                ttl = int.from_bytes(data[position : position + 4], "big")
                position += 4
            n_fields = int.from_bytes(data[position : position + 2], "big")
            n_ops = int.from_bytes(data[position + 2 : position + 4], "big")
            fields, position = frames.parse_fields(data, position + 4, n_fields)
            ops, position = frames.parse_ops(data, position, n_ops)
        yield index, Request(*info, generation, ttl, fields, ops, digest)
