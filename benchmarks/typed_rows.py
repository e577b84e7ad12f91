"""Rows to blocks and back beside msgspec and pickle with the same rows: CPU time, as ratios of one process.

    PYTHONPATH=. python benchmarks/typed_rows.py [rows, default 200,000]

The rows have eight fields, as a database driver gives them, a ``Decimal`` and a time among them. msgspec encodes
structs as packed arrays, in blocks of 32 rows, and knows their class when it reads; pickle has dicts in such blocks.
Beside the rows of a class is what msgspec takes for these very rows, one by one.
Ours is all that is done: checking types, assigning rows to blocks, names, compression; verifying and decompressing.
What was before is blocks by rows, as they are still written for rows that have not the same fields.
"""

from __future__ import annotations

import gc
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import make_dataclass
from functools import partial
from typing import Any, TypeVar, get_type_hints

import msgspec
from stage import Row, machine, make_typed_rows

from django_etcdaero.datasets.blocks.partition import decode_block, partition

T = TypeVar("T")
ROUNDS = 3
BLOCK = 32
STORE_LIMIT = 1024 * 1024


FIELDS = list(get_type_hints(Row).items())
Slotted = make_dataclass("Slotted", FIELDS, frozen=True, slots=True)
Struct: Any = msgspec.defstruct("Struct", FIELDS, frozen=True, gc=False)
Packed: Any = msgspec.defstruct("Packed", FIELDS, array_like=True, frozen=True, gc=False)


def fastest(work: Callable[[], T]) -> tuple[float, T]:
    """Return the CPU seconds of the fastest of some rounds, and what it gave."""
    best, result = float("inf"), work()
    for _ in range(ROUNDS):
        del result
        gc.collect()
        begin = time.process_time()
        result = work()
        best = min(best, time.process_time() - begin)
    return best, result


def publish(rows: dict[str, Any], **options: Any) -> list[tuple[bytes, bytes]]:
    return [(block.digest, block.stored()) for block in partition(rows, max_value_bytes=STORE_LIMIT, **options)]


def read(stored: list[tuple[bytes, bytes]], **options: Any) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for digest, data in stored:
        block = decode_block(digest, data, **options)
        rows.update(zip(block.keys, block.rows, strict=True))
    return rows


def in_blocks(rows: dict[str, Any]) -> list[dict[str, Any]]:
    keys = list(rows)
    return [{key: rows[key] for key in keys[at : at + BLOCK]} for at in range(0, len(keys), BLOCK)]


def merged(blocks: list[Any], decode: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for block in blocks:
        rows.update(decode(block))
    return rows


def measured(encode: Callable[[Any], list[bytes]], blocks: Any, decode: Callable[[bytes], Any]) -> tuple[float, float]:
    encoding, data = fastest(lambda: encode(blocks))
    return encoding, fastest(lambda: merged(data, decode))[0]


def row_by_row(rows: dict[str, Any], row_type: type[Any]) -> tuple[float, float]:
    """Return what msgspec takes for instances of a class, each by itself, and all of them in a dict when read."""
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(row_type)
    encoding, data = fastest(lambda: list(map(encoder.encode, rows.values())))
    return encoding, fastest(lambda: dict(zip(rows, map(decoder.decode, data), strict=True)))[0]


def main(count: int) -> None:
    dicts = make_typed_rows(count)
    fields = Slotted.__match_args__
    assert set(fields) == set(next(iter(dicts.values())))
    dicts = {key: {name: row[name] for name in fields} for key, row in dicts.items()}
    print(f"{machine()}; {count:,} rows; CPU µs a row")
    print(f"{'':34} {'encode':>8} {'x msgspec':>10} {'x before':>9} {'decode':>8} {'x msgspec':>10} {'x before':>9}")
    base: dict[str, tuple[float, float]] = {}

    def show(name: str, encode: float, decode: float) -> None:
        measured = (encode / count * 1e6, decode / count * 1e6)
        base.setdefault("msgspec", measured)
        if name.startswith("before"):
            base.setdefault("before", measured)
        line = f"{name:34}"
        for at, value in enumerate(measured):
            before = base.get("before")
            line += f" {value:8.2f} {value / base['msgspec'][at]:10.2f} "
            line += " " * 9 if before is None else f"{value / before[at]:9.2f}"
        print(line, flush=True)

    blocks = in_blocks({key: Packed(**row) for key, row in dicts.items()})
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(dict[str, Packed])
    show("msgspec, packed structs", *measured(lambda given: list(map(encoder.encode, given)), blocks, decoder.decode))
    show("pickle, dicts", *measured(lambda given: list(map(pickle.dumps, given)), in_blocks(dicts), pickle.loads))
    del blocks

    encode, stored = fastest(lambda: publish(dicts, by_fields=False))
    show("before: frozen dicts", encode, fastest(partial(read, stored, rows="frozen"))[0])
    encode, stored = fastest(lambda: publish(dicts))
    for form in ("frozen", "plain"):
        show(f"{form} dicts", encode, fastest(partial(read, stored, rows=form))[0])
    for name, row_type in {"dataclass with slots": Slotted, "NamedTuple": Row, "msgspec.Struct": Struct}.items():
        instances = {key: row_type(**row) for key, row in dicts.items()}
        show(f"msgspec, {name}", *row_by_row(instances, row_type))
        encode, stored = fastest(partial(publish, instances, row_type=row_type))
        del instances
        show(name, encode, fastest(partial(read, stored, rows="frozen", row_type=row_type))[0])


if __name__ == "__main__":
    main(int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 200_000)
