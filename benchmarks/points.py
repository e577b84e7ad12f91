"""The measurements of one point of the plots: so many rows, and everything in processes of its own.

``plots.py`` starts them. What a point has measured it prints as a line of JSON: plots, their lines, and the values.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from stage import python, set_up

CHANGED, ROUNDS = 1000, 5
"""Rows that change at a time, and how often."""
SHARING = 4
"""Processes that share."""
READS = 50_000
START = datetime(2026, 1, 1, tzinfo=UTC)

Found = dict[str, dict[str, float]]
"""Values by plot and line."""


def row_of(number: int) -> dict[str, Any]:
    """Return a row of eight fields as a database driver gives them; texts are objects of its own."""
    mixed = number * 2654435761 % 2**32
    return {
        "id": number,
        "name": f"Product number {mixed % 10**6}",
        "price": Decimal(number) / 100,
        "stock": mixed % 1000,
        "active": bool(number & 1),
        "category": f"c{number % 97}",
        "sku": key_of(number),
        "changed": START + timedelta(seconds=number),
    }


def key_of(number: int) -> str:
    return f"sku-{number:08d}"


def seconds(work: Callable[[], Any]) -> float:
    """Return the CPU seconds that something takes."""
    before = time.process_time()
    work()
    return time.process_time() - before


# --- rows to blocks and back -----------------------------------------------------------------------------------------


def blocks(count: int) -> Found:
    """Return CPU microseconds a row, to blocks and back, beside msgspec and pickle."""
    import pickle

    import msgspec
    from typed_rows import Packed, Struct, fastest, in_blocks, measured, publish, read

    rows = {key_of(number): row_of(number) for number in range(count)}
    gc.freeze()
    found: Found = {"encode": {}, "decode": {}}

    def add(name: str, encode: float, decode: float) -> None:
        found["encode"][name], found["decode"][name] = (each / count * 1e6 for each in (encode, decode))

    add("pickle, dicts", *measured(lambda given: list(map(pickle.dumps, given)), in_blocks(rows), pickle.loads))
    packed = in_blocks({key: Packed(**row) for key, row in rows.items()})
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(dict[str, Packed])
    add("msgspec, structs", *measured(lambda given: list(map(encoder.encode, given)), packed, decoder.decode))
    del packed
    encode, stored = fastest(lambda: publish(rows))
    add("ours, frozen dicts", encode, fastest(partial(read, stored, rows="frozen"))[0])
    typed = {key: Struct(**row) for key, row in rows.items()}
    encode, stored = fastest(partial(publish, typed, row_type=Struct))
    add("ours, typed", encode, fastest(partial(read, stored, rows="frozen", row_type=Struct))[0])
    return found


# --- a dataset from the source to the reads --------------------------------------------------------------------------


def declare(count: int, changed: dict[int, int], log: list[int], **options: Any) -> Any:
    """Declare a dataset of rows that a generator makes; ``changed``: what stock some of them have."""
    from django_etcdaero import Changes, dataset

    def now(number: int) -> dict[str, Any]:
        return row_of(number) if number not in changed else row_of(number) | {"stock": changed[number]}

    def load_changes(since: int) -> Changes[str]:
        return Changes({key_of(number): now(number) for number in log[since:]}, [], len(log))

    @dataset(load_changes=load_changes, change_cursor=lambda: len(log), first_read_timeout=3600.0, **options)
    def products() -> Iterator[tuple[str, dict[str, Any]]]:
        return ((key_of(number), now(number)) for number in range(count))

    return products


def declare_small(**options: Any) -> Any:
    """Declare a dataset of one row: a process that has loaded it has imported and connected what it needs."""
    from django_etcdaero import dataset

    @dataset(**options)
    def small() -> dict[str, Any]:
        return {key_of(1): row_of(1)}

    return small


def pss() -> float:
    """Return this process's share of the memory that it uses, in MB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


def tell(**figures: Any) -> None:
    print(json.dumps(figures), flush=True)


def reader(args: argparse.Namespace) -> None:
    """Load, take the changes; then say what that took and what is held, and what a read costs."""
    set_up(args.directory, SPLAY=0, SHARED_DIR=f"{args.directory}/shared")
    options: dict[str, Any] = {"shared": True} if args.form == "shared" else {}
    if args.form == "typed":
        from typed_rows import Struct

        options["row_type"] = Struct
    small = declare_small(**options)
    small.wait_version(1, timeout=600)
    tell()
    empty = pss()
    first = int(sys.stdin.readline())
    products = declare(args.rows, {}, [], **options)  # not before, because all datasets are read from the first read on
    tell(loading=seconds(lambda: products.wait_version(first, timeout=3600)))
    changes = []
    for version in range(first + 1, first + 1 + ROUNDS):
        used = time.process_time()
        products.wait_version(version, timeout=3600)
        time.sleep(0.3)  # old rows are freed
        changes.append(time.process_time() - used)
        tell()
    rows = products.snapshot()
    if args.form == "shared":
        assert sum(1 for _ in rows.values()) == args.rows  # all pages are in memory
    gc.collect()
    sys.stdin.readline()
    tell(megabytes=max(0.1, pss() - empty), change=statistics.median(changes))
    sys.stdin.readline()
    keys = [key_of(number) for number in random.Random(1).choices(range(args.rows), k=READS)]
    plain = dict.fromkeys(map(key_of, range(args.rows)), 1) if args.form == "frozen" else {}
    tell(**{name: read_of(some, keys) for name, some in (("this", rows), ("dict", plain)) if some})


def read_of(rows: Any, keys: list[str]) -> float:
    """Return the CPU microseconds of reading one row."""
    return min(seconds(lambda: [rows[key] for key in keys]) for _ in range(3)) / len(keys) * 1e6


class Reader:
    """A process that reads."""

    def __init__(self, form: str, args: argparse.Namespace) -> None:
        command = [*python(), __file__, "--role", "reader", "--form", form, "--rows", str(args.rows)]
        command += ["--directory", str(args.directory)]
        self.form = form
        self._process = subprocess.Popen(command, stdin=-1, stdout=-1, text=True)

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def go_on(self, line: object = "") -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


class Source:
    """The rows, and the process that publishes them: this one."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._changed: dict[int, int] = {}
        self._log: list[int] = []
        self._products = declare(count, self._changed, self._log)
        self._chance = random.Random(2)
        self.version = 0

    def generate(self) -> None:
        """Make all rows, and nothing of them."""
        for _ in self._products.load():
            pass

    def refresh(self) -> None:
        result = self._products.refresh(force=True)
        assert result.ok, result.error
        self.version = result.version

    def change(self) -> float:
        """Change some rows, publish that, and return the CPU seconds of publishing."""
        for number in self._chance.sample(range(self._count), min(CHANGED, self._count)):
            self._changed[number] = self._chance.randrange(10**6)
            self._log.append(number)
        return seconds(self.refresh)


def whole(args: argparse.Namespace) -> Found:
    """Return what a dataset of so many rows costs: to publish, to change, to hold and to read."""
    args.directory = set_up()
    assert declare_small().refresh().ok
    source = Source(args.rows)
    found: Found = {"refresh": {}, "change": {}, "memory": {}, "read": {}}
    try:
        found["refresh"]["making the rows"] = seconds(source.generate)
        found["refresh"]["publisher, all rows"] = seconds(source.refresh) - found["refresh"]["making the rows"]
        publishing = []
        for form, processes in (("frozen", 1), ("typed", 1), ("shared", SHARING)):
            readers = [Reader(form, args) for _ in range(processes)]
            try:
                publishing += follow(form, readers, source, found)
            finally:
                for each in readers:
                    each.end()
        found["change"]["publisher"] = statistics.median(publishing)
    finally:
        shutil.rmtree(args.directory)
    return found


def follow(form: str, readers: list[Reader], source: Source, found: Found) -> list[float]:
    """Let processes load and take changes; note what they say, and return what publishing the changes took."""
    for each in readers:
        each.answer()
        each.go_on(source.version)
    found["refresh"][f"reader, {form}"] = max(each.answer()["loading"] for each in readers)
    publishing = []
    for _ in range(ROUNDS):
        publishing.append(source.change())
        for each in readers:
            each.answer()
    for each in readers:
        each.go_on()
    held = [each.answer() for each in readers]
    found["change"][f"reader, {form}"] = statistics.median(each["change"] for each in held)
    found["memory"][form if len(readers) == 1 else f"{form} by {len(readers)}"] = statistics.mean(
        each["megabytes"] for each in held
    )
    readers[0].go_on()
    read = readers[0].answer()
    found["read"][f"dataset, {form}"] = read.pop("this")
    found["read"] |= read
    return publishing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--measure", choices=("blocks", "whole"))
    parser.add_argument("--role", choices=("reader",))
    parser.add_argument("--form", choices=("frozen", "typed", "shared"))
    parser.add_argument("--directory", type=Path)
    args = parser.parse_args()
    if args.role is not None:
        reader(args)
    else:
        tell(**(blocks(args.rows) if args.measure == "blocks" else whole(args)))


if __name__ == "__main__":
    main()
