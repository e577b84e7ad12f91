"""``manage.py agent``: does what it is told on standard input, one line a command, and answers in JSON."""

import faulthandler
import json
import os
import sqlite3
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from django_etcdaero import kv
from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.runtime import runtime
from shop.datasets import prices


def status() -> dict[str, Any]:
    """Tell what this process holds, without waiting for anything."""
    runtime.ensure_reader()
    told = prices.status()
    return {"version": told.version, "state": str(told.state), "error": told.error, "rows": told.rows}


def read() -> dict[str, Any]:
    """Read the dataset, waiting for it if need be."""
    snapshot = prices.snapshot()
    return {"version": snapshot.version, "rows": dict(snapshot)}


def refresh() -> dict[str, Any]:
    """Refresh in this process, whatever is due."""
    result = prices.refresh(force=True)
    return {"outcome": str(result.outcome), "version": result.version, "error": result.error}


def use_everything() -> None:
    """Read the dataset and use both stores."""
    prices.snapshot()
    key = f"used/{os.getpid()}"
    kv.put(key, "x")
    assert kv.get(key).value == b"x"
    records = runtime.stores("default").records
    records.put(key.encode(), b"x", ttl=60)
    assert records.get(key.encode()).value == b"x"


def fork(times: str) -> dict[str, Any]:
    """Fork while threads of this process use everything; each child does the same once. Tell how the children ended."""
    ending = threading.Event()
    problems: list[str] = []

    def work() -> None:
        while not ending.is_set():
            try:
                use_everything()
            except Exception as error:
                problems.append(repr(error))
                return

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    codes = []
    for _ in range(int(times)):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                faulthandler.dump_traceback_later(20, exit=True)
                use_everything()
                runtime.close()
                code = 0
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(code)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    ending.set()
    for thread in threads:
        thread.join(20)
    return {"codes": codes, "problems": problems, "hanging": any(thread.is_alive() for thread in threads)}


def request() -> None:
    """Ask for a load."""
    prices.request_refresh()


class Holding:
    """A write transaction of this process on the file of one of the stores."""

    connection: sqlite3.Connection

    def begin(self, plane: str) -> None:
        """Begin it."""
        self.connection = sqlite3.connect(settings.DIRECTORY / f"{plane}.sqlite3", isolation_level=None)
        self.connection.execute("BEGIN IMMEDIATE")

    def end(self) -> None:
        """Undo it."""
        self.connection.execute("ROLLBACK")
        self.connection.close()


holding = Holding()

COMMANDS: dict[str, Callable[..., Any]] = {
    "status": status,
    "read": read,
    "request": request,
    "rollback": lambda version: prices.rollback(int(version)),
    "unpin": lambda: prices.unpin(),
    "history": lambda: [each.announcement.version for each in prices.history()],
    "hold": holding.begin,
    "let_go": holding.end,
    "refresh": refresh,
    "fork": fork,
}


class Command(BaseCommand):
    """Serve until standard input ends."""

    def handle(self, *args: Any, **options: Any) -> None:
        for line in sys.stdin:
            name, *arguments = line.split()
            try:
                answer = COMMANDS[name](*arguments)
            except EtcdAeroError as error:
                answer = {"raised": type(error).__name__, "message": str(error)}
            print(json.dumps(answer), flush=True)
