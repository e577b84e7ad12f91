"""A process whose main thread is interrupted by a signal handler that raises, again and again, in all kinds of calls.

    python -m tests.programs.interrupted_calls STORE HITS SEED

``STORE`` is the endpoint of an etcd or the path of a file. Prints what threads beside the main one came to, as JSON.
"""

from __future__ import annotations

import faulthandler
import itertools
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from django_etcdaero.exceptions import DeadlineExceeded
from django_etcdaero.keyvalue import KV, Engine
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.ops import get, put, version
from tests.waiting import wait_until

TTL = 6
PATIENCE = 20.0
AGAIN = 0.5


class TimeLimitExceeded(Exception):
    """What the handler raises."""


class WrongTime(ValueError):
    """Another kind of it, one that gRPC raises for reasons of its own."""


class Ended(BaseException):
    """And one that is no error."""


KINDS = (TimeLimitExceeded, WrongTime, Ended)
kept: list[BaseException] = []
"""The last exceptions, with all that their tracebacks hold."""


def open_engine(store: str) -> Engine:
    return EmbeddedEngine.file(store) if "/" in store else EtcdEngine([store])


class Background:
    """A thread that writes numbers, and one that sees them."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv
        self._watch = kv.watch("numbers")
        self.errors: list[str] = []
        self.written = 0
        self.seen: list[int] = []
        self.stopping = False
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._write, self._see)]
        for thread in self._threads:
            thread.start()

    def _write(self) -> None:
        while not self.stopping:
            try:
                self._kv.put("numbers", str(self.written + 1))
                self._kv.get("numbers")
            except Exception as error:
                self.errors.append(repr(error))
            self.written += 1
            time.sleep(0.0005)

    def _see(self) -> None:
        for item in self._watch:
            self.seen.append(int(item.kv.value))  # type: ignore[union-attr] # nothing is missing

    def go_on(self) -> None:
        """Return when both have got further."""
        written = self.written
        wait_until(lambda: self.written > written + 1, PATIENCE, "a thread that writes")
        written = self.written
        wait_until(lambda: self.seen and self.seen[-1] >= written, PATIENCE, "a thread that watches")

    def stop(self) -> None:
        """Write no more; return when all that was written has been seen."""
        self.stopping = True
        self._threads[0].join(PATIENCE)
        wait_until(lambda: self.seen[-1] == self.written, PATIENCE, "the last number")


def actions(kv: KV) -> dict[str, Callable[[], object]]:
    held = kv.temporary_key("here", "0", ttl=TTL)
    numbers = iter(range(1, sys.maxsize))

    def lock() -> None:
        with kv.lock("locks/one", ttl=TTL):
            pass

    def contended() -> None:
        with kv.lock("locks/two", ttl=TTL), suppress(DeadlineExceeded):
            kv.lock("locks/two", ttl=TTL).acquire(timeout=0.02)

    def watch() -> None:
        with kv.watch("nothing"):
            pass

    def wait() -> None:
        with suppress(DeadlineExceeded):
            kv.wait_for_change("nothing", timeout=0.05)

    def lease() -> None:
        with kv.lease(TTL):
            pass

    def temporary() -> None:
        made = kv.temporary_key(f"temporary/{next(numbers)}", ttl=TTL)
        try:
            with made:
                pass
        except BaseException:  # it is there since it was made: whoever is interrupted before the block has to end it
            made.abort()
            raise

    return {
        "get": lambda: kv.get("a"),
        "put": lambda: kv.put("a", "1"),
        "transaction": lambda: kv.txn().when(version("a") > 0).then(put("b", "2")).otherwise(get("a")).commit(),
        "update": lambda: held.update(str(next(numbers))),
        **{each.__name__: each for each in (lock, contended, watch, wait, lease, temporary)},
        "last update": lambda: held.update("last"),
    }


def interrupt(action: Callable[[], object], chance: random.Random) -> None:
    """Do it until the handler raises."""
    try:
        try:
            # Again later: what a handler raises is lost when Python happens to free an object.
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0002, 0.008), AGAIN)
            while True:
                action()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KINDS as error:
        kept.append(error)
        del kept[:-5]


def main(store: str, hits: int, seed: int) -> dict[str, Any]:
    chance = random.Random(seed)
    raised = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal raised
        raised += 1
        raise KINDS[raised % len(KINDS)]

    signal.signal(signal.SIGALRM, handle)
    engine = open_engine(store)
    kv = KV(engine, prefix=f"interrupted-{seed}/")
    background = Background(kv)
    lease = kv.lease(TTL)
    acts = actions(kv)
    last = acts.pop("last update")
    names = list(acts)
    for act in acts.values():
        act()  # imports what it needs: what is raised inside of an import may end as ModuleNotFoundError
    for _ in range(hits):
        name = chance.choice(names)
        interrupt(acts[name], chance)
        try:
            background.go_on()
        except AssertionError:
            faulthandler.dump_traceback(all_threads=True)
            print(f"after {raised} interruptions, the last in {name!r}", file=sys.stderr, flush=True)
            os._exit(1)
    background.go_on()
    wait_until(last, what="an update that is written")
    for name in ("locks/one", "locks/two"):
        with kv.lock(name, ttl=TTL, timeout=PATIENCE):
            pass
    wait_until(lambda: not kv.range("locks/", prefix=True).kvs, PATIENCE, "an empty queue")
    wait_until(lambda: not kv.range("temporary/", prefix=True).kvs, PATIENCE + TTL, "the end of temporary keys")
    background.stop()
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    found = kv.get("here")
    return {
        "interruptions": raised,
        "errors": background.errors,
        "wrong order": [
            pair for pair in itertools.pairwise([0, *background.seen, background.written + 1]) if pair[1] != pair[0] + 1
        ],
        "lease": lease.alive,
        "temporary key": found is not None and found.value.decode(),
    }


if __name__ == "__main__":
    faulthandler.dump_traceback_later(150, exit=True)
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))), flush=True)
    os._exit(0)
