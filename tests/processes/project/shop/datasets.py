"""The dataset ``prices``: its source is a file, and what goes wrong with it is said by other files beside that.

``rows.json`` holds the rows, ``mode`` how ``load()`` misbehaves; as long as ``gate`` exists ``load()`` waits. Each call
adds a line to ``loads``.
"""

import ctypes
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import faults
from django.conf import settings

from django_etcdaero import Changes, Dataset, MinRows, dataset

if os.environ.get("SHOP_BREAKABLE") == "1":
    import touchable  # noqa: F401 - a file of the deployment

EVERY = os.environ.get("SHOP_EVERY", "3600")
LOAD_TIMEOUT = os.environ.get("SHOP_LOAD_TIMEOUT")


class Model:
    """Looks like an instance of a Django model."""

    _meta = None
    pk = 1


def square(number: int) -> int:
    """Work for a child process."""
    return number * number


def wait_long(pool: Executor) -> None:
    """Wait for work that takes longer than anybody waits; tell by the file ``working`` that it has begun."""
    work = pool.submit(time.sleep, 600)
    (settings.DIRECTORY / "working").touch()
    work.result()


def hang_in_the_first_process() -> None:
    """Never return in the process that was the first to load."""
    first = settings.DIRECTORY / "first"
    if not first.exists():
        first.write_text(str(os.getpid()))
    if first.read_text() == str(os.getpid()):
        threading.Event().wait()


def hold_the_interpreter() -> None:
    """Let no other thread run for longer than a lock lives."""
    ctypes.PyDLL(None).sleep(4)


def load() -> Any:
    """Read the source, as well as ``mode`` lets it."""
    with open(settings.DIRECTORY / "loads", "a") as log:
        log.write(json.dumps({"pid": os.getpid(), "at": time.time()}) + "\n")
    while (settings.DIRECTORY / "gate").exists():
        time.sleep(0.01)
    rows: dict[str, Any] = json.loads((settings.DIRECTORY / "rows.json").read_text())
    match (settings.DIRECTORY / "mode").read_text():
        case "raise":
            raise OSError("the source is away")
        case "none":
            return None
        case "models":
            return [Model(), Model()]
        case "no pairs":
            return (key for key in rows)
        case "duplicates":
            return [*rows.items(), *rows.items()]
        case "unencodable":
            return rows | {"odd one": {"inside": [Model()]}}
        case "empty":
            return {}
        case "hang":
            hang_in_the_first_process()
        case "hold":
            hold_the_interpreter()
        case "threads":
            with ThreadPoolExecutor(1) as threads:
                wait_long(threads)
        case "processes":
            with ProcessPoolExecutor(1) as processes:
                wait_long(processes)
        case "terminated pool":
            with multiprocessing.get_context("fork").Pool(
                4
            ) as pool:  # terminates its workers, some of which just begin
                return {"0": pool.apply(square, (2,))}
        case "pool":
            with multiprocessing.get_context("fork").Pool(2) as pool:
                squares = pool.map(square, range(20))
                pool.close()
                pool.join()
            return {str(number): squared for number, squared in enumerate(squares)}
    return rows


@dataset
class Prices(Dataset[str, Any]):
    """What the tests refresh and read."""

    name = "prices"
    refresh_every = timedelta(seconds=float(EVERY)) if EVERY else None
    load_timeout = timedelta(seconds=float(LOAD_TIMEOUT)) if LOAD_TIMEOUT else "auto"
    schema = int(os.environ.get("SHOP_SCHEMA", "1"))
    keep = 2
    first_read_timeout = float(os.environ.get("SHOP_PATIENCE", "20"))
    validators = [MinRows(1)]
    shared = os.environ.get("SHOP_SHARED") == "1"

    def load(self) -> Mapping[str, Any] | Iterable[tuple[str, Any]]:
        return load()


prices = Prices

if os.environ.get("SHOP_CHANGES") == "1":  # it tells all rows, which need not be new
    type(Prices).change_cursor = lambda self: 0
    type(Prices).load_changes = lambda self, since: Changes(load(), (), 0)

if os.environ.get("SHOP_STOCK") == "1":

    @dataset
    def stock() -> dict[str, int]:
        """Return what is in stock: the same each time."""
        return {"a": 7}


faults.arm()
