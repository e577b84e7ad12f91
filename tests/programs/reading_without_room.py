"""Run as a program: read a store in a file that must not grow, and do what is asked on standard input, in JSON.

Arguments: ``kv`` or ``records``, and the path. Files have room for no more than ``tests.full_disk.LIMIT`` bytes, unless
``unlimited`` is a third argument.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable

from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.values import PutRequest, WatchBatch, WatchRequest
from django_etcdaero.records.sqlite.store import SqliteStore
from tests.full_disk import limit_files, unlimit_files
from tests.waiting import wait_until

KEY = b"number"


def open_store(kind: str, path: str) -> tuple[Callable[[], int], Callable[[int], object]]:
    """Return how its number is read and written."""
    if kind == "kv":
        engine = EmbeddedEngine.file(path)

        def read() -> int:
            found = engine.get(KEY)
            return 0 if found is None else int(found.value)

        return read, lambda number: engine.put(PutRequest(KEY, b"%d" % number))
    store = SqliteStore(path)

    def get() -> int:
        record = store.get(KEY)
        return 0 if record is None else int(record.value)

    return get, lambda number: store.put(KEY, b"%d" % number)


def follow(read: Callable[[], int], last: int) -> int:
    """Read in three threads until ``last`` is there; return how often. What was committed never goes away."""
    counts: list[int] = []
    problems: list[str] = []

    def work() -> None:
        seen = count = 0
        while seen < last:
            number = read()
            if number < seen:
                problems.append(f"{number} after {seen}")
                return
            seen, count = number, count + 1
        counts.append(count)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == 3, problems
    return sum(counts)


def watch(path: str, last: int) -> int:
    """Wait for a watch to tell of ``last``; return how many values it told."""
    engine, told = EmbeddedEngine.file(path), list[int]()

    def sink(batch: WatchBatch) -> None:
        told.extend(int(event.kv.value) for event in batch.events)

    engine.watch(WatchRequest(KEY), sink)
    print(json.dumps("watching"), flush=True)
    wait_until(lambda: last in told, 60, "the last value in a watch")
    return len(told)


def main(kind: str, path: str, limited: bool) -> None:
    if limited:
        limit_files()
    opened: tuple[Callable[[], int], Callable[[int], object]] | None = None
    for line in sys.stdin:
        command, *arguments = line.split()
        answer: object = None
        try:
            read, write = opened = opened or open_store(kind, path)
            match command:
                case "read":
                    answer = read()
                case "write":
                    write(int(arguments[0]))
                case "follow":
                    print(json.dumps("following"), flush=True)
                    answer = follow(read, int(arguments[0]))
                case "watch":
                    answer = watch(path, int(arguments[0]))
                case "room":
                    unlimit_files()
                case "die":
                    os._exit(0)
        except EtcdAeroError as error:
            answer = type(error).__name__
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], "unlimited" not in sys.argv[3:])
