"""Frames and record messages: bytes to values and back. All numbers are big endian."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

INFO, SECURITY, RECORD, COMPRESSED = 1, 2, 3, 4
"""Types of a frame."""

MESSAGE = struct.Struct(">BBBBBBIIIHH")
_OP = struct.Struct(">IBBBB")
MAX_BODY = 128 * 1024 * 1024

NAMESPACE, SET, KEY, DIGEST, PARTITIONS, RESUME, MAX_RECORDS, BATCH, FILTER = 0, 1, 2, 4, 11, 12, 13, 41, 43
"""Types of a field."""

READ, ALL_BINS, IS_BATCH, NO_BINS, ALL_COPIES = 0x01, 0x02, 0x08, 0x20, 0x40
"""Bits of info1."""
WRITE, DELETE, GENERATION_EQUAL, GENERATION_GREATER, DURABLE, CREATE_ONLY, ALL_OPS = (
    0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x80,
)  # fmt: skip
"""Bits of info2."""
LAST, PARTITION_DONE, UPDATE_ONLY, CREATE_OR_REPLACE, REPLACE_ONLY = 0x01, 0x04, 0x08, 0x10, 0x20
"""Bits of info3."""


class Op(NamedTuple):
    """What to do with a bin, or a bin as it was read."""

    code: int
    particle: int
    name: bytes
    value: bytes


class Request(NamedTuple):
    """One record command, or one row of a batch."""

    info1: int
    info2: int
    info3: int
    generation: int
    ttl: int
    fields: dict[int, bytes]
    ops: list[Op]
    digest: bytes


class Reply(NamedTuple):
    """The answer to a command; ``void_time`` as the server counts it."""

    result: int
    generation: int = 0
    void_time: int = 0
    ops: tuple[Op, ...] = ()


class Closed(Exception):
    """The peer has gone, or sent what is no frame."""


def read_frame(connection: socket.socket) -> tuple[int, bytes]:
    """Return type and body of the next frame."""
    header = _read(connection, 8)
    size = int.from_bytes(header[2:], "big")
    if header[0] != 2 or size > MAX_BODY:
        raise Closed
    return header[1], _read(connection, size)


def frame(kind: int, body: bytes) -> bytes:
    return bytes((2, kind)) + len(body).to_bytes(6, "big") + body


def parse_message(body: bytes) -> Request:
    _, info1, info2, info3, _, _, generation, ttl, _, n_fields, n_ops = MESSAGE.unpack_from(body)
    fields, position = parse_fields(body, MESSAGE.size, n_fields)
    ops, _ = parse_ops(body, position, n_ops)
    return Request(info1, info2, info3, generation, ttl, fields, ops, fields.get(DIGEST, b""))


def parse_fields(data: bytes, position: int, count: int) -> tuple[dict[int, bytes], int]:
    fields: dict[int, bytes] = {}
    for _ in range(count):
        size = int.from_bytes(data[position : position + 4], "big")
        fields[data[position + 4]] = data[position + 5 : position + 4 + size]
        position += 4 + size
    return fields, position


def parse_ops(data: bytes, position: int, count: int) -> tuple[list[Op], int]:
    ops: list[Op] = []
    for _ in range(count):
        size, code, particle, _, name_size = _OP.unpack_from(data, position)
        start = position + _OP.size
        position += 4 + size
        ops.append(Op(code, particle, data[start : start + name_size], data[start + name_size : position]))
    return ops, position


def message(
    result: int = 0,
    *,
    info3: int = 0,
    generation: int = 0,
    void_time: int = 0,
    index: int = 0,
    fields: Iterable[tuple[int, bytes]] = (),
    ops: Iterable[Op] = (),
) -> bytes:
    """Return one message of a reply (the body of a frame, or a part of one)."""
    fields, ops = list(fields), list(ops)
    parts = [MESSAGE.pack(22, 0, 0, info3, 0, result, generation, void_time, index, len(fields), len(ops))]
    parts += [(len(data) + 1).to_bytes(4, "big") + bytes((kind,)) + data for kind, data in fields]
    for op in ops:
        parts += (_OP.pack(4 + len(op.name) + len(op.value), op.code, op.particle, 0, len(op.name)), op.name, op.value)
    return b"".join(parts)


def _read(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        try:
            part = connection.recv(min(size - len(data), 1 << 20))
        except OSError as error:
            raise Closed from error
        if not part:
            raise Closed
        data += part
    return bytes(data)
