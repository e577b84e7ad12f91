"""Scans of a set, in pages, by partition."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.records.aerospike.standin import frames, operations
from tests.records.aerospike.standin.faults import Faults
from tests.records.aerospike.standin.frames import Request
from tests.records.aerospike.standin.records import Namespace

PARTITIONS = 4096
PARTITION_UNAVAILABLE = 11
FRAME_BYTES = 1 << 17


def execute(space: Namespace, request: Request, faults: Faults) -> Iterator[bytes]:
    """Yield the frames of the answer: the records of the partitions asked for, in the order of their digests."""
    result = faults.result if space.is_meant(request) else 20
    if result is not None:
        yield frames.frame(frames.RECORD, frames.message(result, info3=frames.LAST))
        return
    listed = request.fields.get(frames.PARTITIONS, b"")
    wanted = set(struct.unpack(f"<{len(listed) // 2}H", listed))
    resume = request.fields.get(frames.RESUME, b"")
    after = {partition(resume[at : at + 20]): resume[at : at + 20] for at in range(0, len(resume), 20)}
    left = int.from_bytes(request.fields.get(frames.MAX_RECORDS, b""), "big") or len(space.records) + 1
    parts: list[bytes] = []
    for row in _rows(space, request, wanted, after, left):
        parts.append(row)
        if sum(map(len, parts[-100:])) > FRAME_BYTES or len(parts) >= 500:
            yield frames.frame(frames.RECORD, b"".join(parts))
            parts = []
    if faults.scans_cut_short:
        faults.scans_cut_short -= 1
        parts += [
            frames.message(PARTITION_UNAVAILABLE, info3=frames.PARTITION_DONE, generation=number)
            for number in sorted(wanted | set(after))
        ]
    yield frames.frame(frames.RECORD, b"".join([*parts, frames.message(info3=frames.LAST)]))


def _rows(space: Namespace, request: Request, wanted: set[int], after: dict[int, bytes], left: int) -> list[bytes]:
    rows: list[bytes] = []
    with space.lock:
        for digest, record in space.of_set(request.fields.get(frames.SET)):
            number = partition(digest)
            if number not in wanted and not (number in after and digest > after[number]):
                continue
            fields = [(frames.NAMESPACE, space.name.encode()), (frames.DIGEST, digest)]
            fields += [(frames.SET, record.set_name)] if record.set_name else []
            fields += [(frames.KEY, record.key)] if record.key is not None else []
            rows.append(
                frames.message(
                    generation=record.generation,
                    void_time=space.clock.for_client(record.void_time),
                    fields=fields,
                    ops=() if request.info1 & frames.NO_BINS else operations.all_bins(record),
                )
            )
            if len(rows) == left:
                break
    return rows


def partition(digest: bytes) -> int:
    return int.from_bytes(digest[:2], "little") % PARTITIONS
