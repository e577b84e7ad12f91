"""How long it takes to encode, publish and read a dataset, next to one ``pickle.dumps`` of the same rows.

    PYTHONPATH=. python benchmarks/encode.py [rows, default 1,000,000]

The rows are dicts of six fields, about 100 bytes each, with texts of their own in every row, as a database driver
returns them (and, for comparison, with the category texts shared, which pickle writes once only). It is all measured in
one process, with the garbage collector on.
"""

from __future__ import annotations

import pickle
import random
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.blocks.partition import decode_block, partition

T = TypeVar("T")
CATEGORIES = ("books", "garden", "toys", "kitchen", "music", "outdoor")
STORE_LIMIT = 1024 * 1024


def products(count: int, *, shared: bool) -> dict[int, dict[str, Any]]:
    source = random.Random(1)
    rows = {}
    for number in range(count):
        category = source.choice(CATEGORIES)
        rows[number] = {
            "id": number,
            "name": f"Product number {number} in {category}",
            "price": round(source.random() * 1000, 2),
            "stock": source.randrange(1000),
            "active": source.random() < 0.9,
            "category": category if shared else "".join([category[:2], category[2:]]),
        }
    return rows


def timed(what: str, work: Callable[[], T], *, against: float = 0.0) -> tuple[T, float]:
    begin = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ratio = f"{seconds / against:6.2f}x" if against else " " * 7
    print(f"{what:<58}{seconds:8.2f} s {ratio}   peak {peak:6.0f} MiB")
    return result, seconds


def publish(rows: dict[int, Any], known: dict[bytes, int]) -> tuple[Manifest, int]:
    """Encode everything, compress what is not known; return the manifest and the bytes that would be written."""
    parts = partition(rows, max_value_bytes=STORE_LIMIT)
    entries, written = [], 0
    for block in parts:
        size = known.get(block.digest)
        if size is None:
            size = len(block.stored())
            written += size
        entries.append(block.entry(size))
    manifest = Manifest.build(entries, name="products", schema=1, count=parts.count)
    return manifest, written


def read(stored: list[tuple[bytes, bytes]], form: Any) -> float:
    """Decode everything into one mapping; return the seconds that the longest block took."""
    mapping: dict[Any, Any] = {}
    longest = 0.0
    for digest, data in stored:
        begin = time.perf_counter()
        block = decode_block(digest, data, rows=form)
        longest = max(longest, time.perf_counter() - begin)
        mapping.update(zip(block.keys, block.rows, strict=True))
    return longest


def measure_encoding(rows: dict[int, Any]) -> float:
    best = min(timed("pickle.dumps", partial(pickle.dumps, rows))[1] for _ in range(3))
    for _ in range(3):
        timed("encode, digest, compress all, manifest (best dumps = 1)", partial(publish, rows, {}), against=best)
    return best


def measure_refresh(rows: dict[int, Any], best: float) -> None:
    manifest, written = publish(rows, {})
    before = manifest.records()
    full = written + sum(map(len, before.values()))
    print(
        f"  {manifest.count:,} blocks; a row is {manifest.plain_bytes / len(rows):.1f} bytes plain, "
        f"{written / len(rows):.1f} stored, {(full - written) / len(rows):.2f} in the manifest"
    )
    changed = dict(rows)
    for number in random.Random(2).sample(range(len(rows)), len(rows) // 1000):
        changed[number] = {**rows[number], "price": -1.5}
    known = dict(zip(manifest.blocks, manifest.sizes, strict=True))
    (after, written), _ = timed("refresh, 0.1 % of the rows changed", partial(publish, changed, known), against=best)
    written += sum(len(data) for digest, data in after.records().items() if digest not in before)
    print(f"  writes {written / 1e6:.2f} MB: {100 * written / full:.2f} % of the full publish")


def measure_decoding(stored: list[tuple[bytes, bytes]], pickled: bytes) -> None:
    _, loads = timed("pickle.loads", partial(pickle.loads, pickled))
    for form in ("plain", "frozen"):
        longest, _ = timed(f"verify and decode all, {form} (loads = 1)", partial(read, stored, form), against=loads)
        print(f"  longest block {1000 * longest:.2f} ms (full passes of the garbage collector included)")


def main(count: int) -> None:
    print(f"{count:,} rows, category texts shared")
    measure_encoding(products(count, shared=True))
    print(f"{count:,} rows, all texts of their own")
    rows = products(count, shared=False)
    measure_refresh(rows, measure_encoding(rows))
    stored = [(block.digest, block.stored()) for block in partition(rows, max_value_bytes=STORE_LIMIT)]
    pickled = pickle.dumps(rows)
    del rows
    measure_decoding(stored, pickled)


if __name__ == "__main__":
    main(int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 1_000_000)
