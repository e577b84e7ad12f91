"""Execution of one record command, in the order in which the real server checks things."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from tests.records.aerospike.standin import filters
from tests.records.aerospike.standin.faults import Faults
from tests.records.aerospike.standin.frames import (
    ALL_BINS,
    ALL_COPIES,
    ALL_OPS,
    CREATE_ONLY,
    CREATE_OR_REPLACE,
    DELETE,
    DURABLE,
    FILTER,
    GENERATION_EQUAL,
    GENERATION_GREATER,
    KEY,
    NO_BINS,
    READ,
    REPLACE_ONLY,
    SET,
    UPDATE_ONLY,
    WRITE,
    Op,
    Reply,
    Request,
)
from tests.records.aerospike.standin.records import Namespace, Record, milliseconds

OP_READ, OP_WRITE, OP_INCREMENT, OP_APPEND, OP_PREPEND, OP_TOUCH, OP_DELETE = 1, 2, 5, 9, 10, 11, 14
MODIFYING = (OP_INCREMENT, OP_APPEND, OP_PREPEND)
INTEGER, STRING, BLOB = 1, 3, 4
MAX_BIN_NAME = 15


class Refused(Exception):
    """An operation cannot be done; the argument is the result code."""


def execute(space: Namespace, request: Request, faults: Faults) -> Reply:
    """Execute ``request``; nothing has changed when the result is not 0."""
    if faults.result is not None:
        return Reply(faults.result)
    if faults.refusals:
        return Reply(faults.refusals.pop())
    with space.lock:
        if not space.is_meant(request):
            return Reply(20)
        space.supervise()
        if not request.info2 & WRITE:
            return _read(space, request, faults.old_copies)
        if request.info2 & DELETE:
            return _remove(space, request)
        return _write(space, request, full=faults.full)


def _read(space: Namespace, request: Request, old_copies: Mapping[bytes, Record]) -> Reply:
    record = space.live(request.digest)
    if not request.info1 & ALL_COPIES:
        record = old_copies.get(request.digest, record)
    if record is None:
        return Reply(2)
    if not filters.holds(request.fields.get(FILTER), record):
        return Reply(27, record.generation, record.void_time)
    if request.info1 & NO_BINS:
        ops: tuple[Op, ...] = ()
    elif request.info1 & ALL_BINS:
        ops = all_bins(record)
    elif request.ops:
        ops = tuple(read for op in request.ops if (read := _bin(record, op.name)))
    else:
        return Reply(4, record.generation, record.void_time)
    return Reply(0, record.generation, record.void_time, ops)


def _remove(space: Namespace, request: Request) -> Reply:
    if request.info2 & DURABLE:
        return Reply(25)  # Enterprise Edition only
    record = space.records.get(request.digest)  # also an expired one that has not been purged yet
    if record is None:
        return Reply(2)
    if not _generation_fits(request, record):
        return Reply(3)
    if not filters.holds(request.fields.get(FILTER), record):
        return Reply(27)
    del space.records[request.digest]
    return Reply(0)


def _write(space: Namespace, request: Request, *, full: bool) -> Reply:
    if full:
        return Reply(8)
    if refusal := _malformed(request):
        return Reply(refusal)
    before = space.live(request.digest)
    generation, void_time = (before.generation, before.void_time) if before else (0, 0)
    must_exist = request.info3 & (UPDATE_ONLY | REPLACE_ONLY) or any(op.code == OP_TOUCH for op in request.ops)
    if before is None and must_exist:
        return Reply(2)
    if before is not None and request.info2 & CREATE_ONLY:
        return Reply(5, generation, void_time)
    if not _generation_fits(request, before):
        return Reply(3, generation, void_time)
    if before is not None and not filters.holds(request.fields.get(FILTER), before):
        return Reply(27, generation, void_time)
    if before is None and space.is_full(request.fields.get(SET, b"")):
        return Reply(22)
    sent_key = request.fields.get(KEY)
    if before is not None and None not in (before.key, sent_key) and before.key != sent_key:
        return Reply(19, generation, void_time)
    if refusal := space.ttl_refusal(request.ttl, before):
        return Reply(refusal, generation, void_time)
    record = copy.copy(before) if before else Record(request.fields.get(SET, b""))
    replace = request.info3 & (CREATE_OR_REPLACE | REPLACE_ONLY)
    record.bins = dict(record.bins) if not replace else {}
    record.key = sent_key or record.key
    try:
        read = _apply(record, request)
    except Refused as refused:
        return Reply(refused.args[0], generation, void_time)
    if not record.bins:
        if before is None:
            return Reply(2)
        del space.records[request.digest]
        return Reply(0, 0, 0, read)
    record.void_time = space.void_time(request.ttl, before)
    if record.size() > space.max_record_size:
        return Reply(13, generation, void_time)
    record.generation = generation % 0xFFFF + 1  # 16 bits, and never 0
    record.updated = max(record.updated, milliseconds())
    space.records[request.digest] = record
    return Reply(0, record.generation, record.void_time, read)


def _malformed(request: Request) -> int:
    if not request.ops:
        return 4
    for op in request.ops:
        if len(op.name) > MAX_BIN_NAME:
            return 21
        if op.code == OP_READ and not request.info1 & READ:
            return 4
        partial = op.code in (OP_TOUCH, OP_DELETE, *MODIFYING) or (op.code == OP_WRITE and op.particle == 0)
        if partial and request.info3 & (CREATE_OR_REPLACE | REPLACE_ONLY):
            return 4
        if op.code not in (OP_READ, OP_WRITE, OP_TOUCH, OP_DELETE, *MODIFYING):
            return 16
    return 0


def _generation_fits(request: Request, record: Record | None) -> bool:
    generation = 0 if record is None else record.generation
    if request.info2 & GENERATION_EQUAL:
        return request.generation == generation
    return not request.info2 & GENERATION_GREATER or request.generation > generation


def _apply(record: Record, request: Request) -> tuple[Op, ...]:
    """Do the operations in turn; return what they read."""
    answers: list[Op] = []
    for op in request.ops:
        if op.code == OP_READ:
            if op.name:
                found = _bin(record, op.name)
                answers += [found] if found else [Op(op.code, 0, op.name, b"")] if request.info2 & ALL_OPS else []
            else:
                answers += all_bins(record)
            continue
        if op.code == OP_DELETE:
            record.bins.clear()
        elif op.code == OP_WRITE:
            if op.particle:
                record.bins[op.name] = (op.particle, op.value)
            else:
                record.bins.pop(op.name, None)
        elif op.code in MODIFYING:
            record.bins[op.name] = (op.particle, _modified(record, op))
        if request.info2 & ALL_OPS and op.code != OP_TOUCH:
            answers.append(Op(op.code, 0, op.name, b""))
    return tuple(answers)


def _modified(record: Record, op: Op) -> bytes:
    allowed = (INTEGER,) if op.code == OP_INCREMENT else (STRING, BLOB)
    particle, value = record.bins.get(op.name, (op.particle, bytes(8) if op.code == OP_INCREMENT else b""))
    if op.particle not in allowed or particle != op.particle:
        raise Refused(12)
    if op.code == OP_INCREMENT:
        total = int.from_bytes(value, "big") + int.from_bytes(op.value, "big")
        return (total % 2**64).to_bytes(8, "big")
    return value + op.value if op.code == OP_APPEND else op.value + value


def _bin(record: Record, name: bytes) -> Op | None:
    found = record.bins.get(name)
    return None if found is None else Op(OP_READ, found[0], name, found[1])


def all_bins(record: Record) -> tuple[Op, ...]:
    return tuple(Op(OP_READ, particle, name, value) for name, (particle, value) in record.bins.items())
