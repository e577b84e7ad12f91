"""``manage.py read``: reads all datasets again and again, checks all that it gets, and counts in both KV stores.

It writes what it has seen, one line for each version, into ``NAME.seen``, and how it stands, ten times a second, into
``NAME.report``. Ends on SIGTERM. ``--interrupted``: a signal handler raises in the main thread, in which all of it is
done, every 50 to 200 ms. ``--forking``: children of it read as well.
"""

import contextlib
import faulthandler
import json
import os
import random
import signal
import threading
import time
import traceback
from collections import deque
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from django_etcdaero import datasets, kvs
from django_etcdaero.exceptions import DatasetNotReady, DatasetStale, EtcdAeroError
from django_etcdaero.runtime import runtime
from figures.datasets import READER
from figures.rows import INDEX, complaint, digest_of, whole_of

PAUSE = float(os.environ.get("CHAOS_PAUSE", "0.1"))
"""Seconds between two laps of reading."""
AGAIN = 4
"""Of so many reads of a version one is of all rows, after the first."""


class Interruption(Exception):
    """What the signal handler raises."""


class Interruptions:
    """Raises in the main thread, while a block of it lets that be, from the first time on until the process ends."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._allowed = False
        self.count = 0

    def start(self) -> None:
        signal.signal(signal.SIGALRM, self._handle)
        self._set()

    def _set(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._chance.uniform(0.05, 0.2))

    def _handle(self, *_: object) -> None:
        self._set()
        if self._allowed:
            self._allowed = False
            self.count += 1
            raise Interruption

    def run(self, function: Any) -> None:
        """Call it, which may be interrupted."""
        try:
            self._allowed = True
            function()
            self._allowed = False
        except Interruption:
            pass


class Reading:
    """One dataset as it is read here, each time checked."""

    def __init__(self, dataset: Any, problems: "deque[str]") -> None:
        self.dataset = dataset
        self.problems = problems
        self.seen: deque[dict[str, Any]] = deque()
        """What is still to be written down."""
        self.held: tuple[int, float] | None = None
        self.number = -1
        self._reads = 0
        self.rows = 0
        """How many were read."""
        self.refused = ""
        self.read_at = 0.0

    def read(self) -> None:
        """Read, and look whether all rows are what they must be: in each version, and now and then again."""
        self._reads += 1
        try:
            snapshot = self.dataset.snapshot()
            number, _ = whole_of(snapshot)
            if (snapshot.version, snapshot.published_at) == self.held and number == self.number and self._reads % AGAIN:
                self.rows += 1
                self.refused, self.read_at = "", time.monotonic()
                return
            rows = dict(snapshot)
        except DatasetStale:
            self.refused = "stale"
            if not self.dataset.max_stale:
                self.problems.append(f"{self.dataset.name}: too old without a limit")
            return
        except DatasetNotReady as error:
            self.refused = "not ready"
            if self.held is not None:
                self.problems.append(f"{self.dataset.name}: had been read before: {error}")
            return
        if wrong := complaint(self.dataset.name, rows):
            self.problems.append(f"version {snapshot.version}: {wrong}")
        self.rows += len(rows)
        number, _ = whole_of(rows)
        if snapshot.index != number:
            self.problems.append(f"{self.dataset.name}: the index is of {snapshot.index}, the rows are of {number}")
        if self.dataset.indexes:
            self._look_into_index(snapshot, rows)
        identity = (snapshot.version, snapshot.published_at)
        if identity != self.held:
            self.seen.append(
                {"name": self.dataset.name, "version": snapshot.version, "published_at": snapshot.published_at}
                | {"number": number, "rows": len(rows), "at": time.monotonic(), "pid": os.getpid()}
                | {"digest": digest_of(self.dataset.name, rows)}
            )
            self.held = identity
        self.number, self.refused, self.read_at = number, "", time.monotonic()

    def _look_into_index(self, snapshot: Any, rows: dict[str, Any]) -> None:
        """Look whether the index finds the rows of this version, in their order."""
        for value in ("group 0", "group 5", "no group"):
            wanted = [row for row in rows.values() if row[INDEX] == value]
            if [*snapshot.by(INDEX)[value]] != wanted:
                self.problems.append(
                    f"version {snapshot.version} of {self.dataset.name}: the index of {value} is wrong"
                )


def era_of(alias: str) -> str:
    """Return how often the coordination store of an alias has been put back to what it was once, or emptied."""
    path = settings.DIRECTORY / "era"
    return path.read_text() if alias == "default" and path.exists() else "0"


class Counting:
    """A number in one KV store that only this process counts up, and a lock that only it takes.

    In each era it counts another one: what was counted in an era that is over may be lost, or be there again.
    """

    def __init__(self, alias: str, problems: "deque[str]") -> None:
        self.alias = alias
        self.problems = problems
        self.tried = self.done = self.failed = self.locked = 0
        self._era, self._tried_before, self._done_before = "0", 0, 0
        self.errors: deque[str] = deque(maxlen=10)

    def count(self) -> None:
        """Count, and look whether no increment was lost or done twice."""
        era = era_of(self.alias)
        if era != self._era:
            self._era, self._tried_before, self._done_before = era, self.tried, self.done
        name = f"counted/{READER}/{os.getpid()}/{era}"
        least = self.done - self._done_before
        try:
            self.tried += 1
            kvs[self.alias].increment(name)
            self.done += 1
            found = kvs[self.alias].get(name)
        except EtcdAeroError as error:
            self.failed += 1
            self.errors.append(f"{time.monotonic():.1f} {type(error).__name__}: {error}"[:200])
            return
        if era_of(self.alias) != era:
            return
        most = self.tried - self._tried_before
        if not least <= int(found.value) <= most:
            self.problems.append(f"{self.alias}: counted to {found.value!r}, not {least} to {most}")

    def lock(self) -> None:
        """Take the lock, which is free but for what an interruption or an outage has left."""
        with contextlib.suppress(EtcdAeroError), kvs[self.alias].lock(f"taken/{READER}", ttl=3, timeout=0.5):
            self.locked += 1


class Children:
    """Children of this process, one at a time: each reads for a while, and ends."""

    def __init__(self, readings: list[Reading], problems: "deque[str]", chance: random.Random) -> None:
        self._readings = readings
        self._problems = problems
        self._chance = chance
        self._child: int | None = None
        self.count = 0

    def go_on(self) -> None:
        """Look after the child, or have the next one."""
        if self._child is not None:
            self._wait(os.WNOHANG)
        else:
            seconds = self._chance.uniform(0, 3)
            self.count += 1
            self._child = os.fork()
            if not self._child:
                self._live(seconds)

    def end(self) -> None:
        if self._child is not None:
            self._wait(0)

    def _wait(self, option: int) -> None:
        assert self._child is not None
        pid, status = os.waitpid(self._child, option)
        if pid:
            self._child = None
            if status:
                self._problems.append(f"a child ended with {os.waitstatus_to_exitcode(status)}")

    def _live(self, seconds: float) -> None:
        code = 1
        try:
            faulthandler.dump_traceback_later(150, exit=True)  # a read may wait 60 for a dataset that is stuck
            self._problems.clear()
            end = time.monotonic() + seconds
            while True:
                for reading in self._readings:
                    reading.read()
                for alias in kvs:
                    with contextlib.suppress(EtcdAeroError):
                        kvs[alias].put(f"child/{READER}", "x")
                if time.monotonic() > end:
                    break
                time.sleep(0.1)
            runtime.close()
            code = 0
            if self._problems:
                os.write(2, "\n".join(self._problems).encode())
                code = 2
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)


class Command(BaseCommand):
    """Read until SIGTERM."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seed", type=int)
        parser.add_argument("--interrupted", action="store_true")
        parser.add_argument("--forking", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        self.problems: deque[str] = deque(maxlen=50)
        self.passes = self.laps = 0
        self.readings = [Reading(each, self.problems) for each in datasets.values()]
        self.counting = [Counting(alias, self.problems) for alias in kvs]
        self._chance = chance = random.Random(options["seed"])
        self.interruptions = Interruptions(chance)
        self.children = Children(self.readings, self.problems, chance)
        self._ending = ending = threading.Event()
        with open(settings.DIRECTORY / f"{READER}.seen", "a") as seen:
            seen.write("\n")  # after what one before was killed over
        signal.signal(signal.SIGTERM, lambda *_: ending.set())
        reporter = threading.Thread(target=self._report)
        reporter.start()
        if options["interrupted"]:
            self.interruptions.start()
        while not ending.is_set():
            self.interruptions.run(self._lap)
            if options["forking"]:
                self.children.go_on()
            time.sleep(PAUSE)
        self.children.end()
        reporter.join()
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _lap(self) -> None:
        try:
            # In any order: a first read that waits for a store which is away is interrupted before its wait is over.
            for reading in self._chance.sample(self.readings, len(self.readings)):
                reading.read()
            self.passes += 1
            for counting in self._chance.sample(self.counting, len(self.counting)):
                self._chance.choice([counting.count, counting.lock])()
            self.laps += 1
        except Interruption:
            raise
        except BaseException:
            self.problems.append(traceback.format_exc())

    def _report(self) -> None:
        last = False
        while not last:
            last = self._ending.wait(0.1)
            try:
                self._write()
            except BaseException:
                self.problems.append(traceback.format_exc())

    def _write(self) -> None:
        with open(settings.DIRECTORY / f"{READER}.seen", "a") as seen:
            for reading in self.readings:
                while reading.seen:
                    seen.write(json.dumps(reading.seen.popleft()) + "\n")
        told = {
            "at": time.monotonic(),
            "passes": self.passes,
            "rows": sum(reading.rows for reading in self.readings),
            "laps": self.laps,
            "interrupted": self.interruptions.count,
            "children": self.children.count,
            "counted": {each.alias: [each.done, each.failed, each.tried, each.locked] for each in self.counting},
            "errors": {each.alias: list(each.errors) for each in self.counting},
            "problems": list(self.problems),
            "datasets": {reading.dataset.name: self._told(reading) for reading in self.readings},
        }
        path = settings.DIRECTORY / f"{READER}.report"
        path.with_suffix(".new").write_text(json.dumps(told))
        os.replace(path.with_suffix(".new"), path)

    def _told(self, reading: Reading) -> dict[str, Any]:
        status = reading.dataset.status()
        return {
            "version": status.version,
            "state": str(status.state),
            "error": status.error,
            "busy_with": status.busy_with,
            "number": reading.number,
            "refused": reading.refused,
            "read_at": reading.read_at,
        }
