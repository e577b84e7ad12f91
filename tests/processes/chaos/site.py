"""A deployment of the chaos project: its sources, its services and readers, and what these tell."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django_etcdaero import schemes
from django_etcdaero.datasets.layout import Layout, records_of_all
from django_etcdaero.keyvalue import KV
from django_etcdaero.stores.address import Plane
from tests.processes.chaos.clocks import clean_up
from tests.processes.site import Process, Site

PROJECT = Path(__file__).with_name("project")
KINDS = ("slow", "guarded", "strict", "changing", "shared")
"""Of datasets, in each alias: refreshed every two seconds or three. A further kind is declared in the project."""
NAMES = {alias: [f"{alias}-{kind}" for kind in KINDS] for alias in ("servers", "files")}
ALL = [name for names in NAMES.values() for name in names]
GUARDED = [f"{alias}-{kind}" for alias in NAMES for kind in ("guarded", "changing")]
"""With a validator; operators roll them back."""
ASKED = [f"{alias}-asked" for alias in NAMES]
"""Refreshed only when somebody asks for it."""
LEASE = 6
"""Seconds that locks and registrations of a process outlive it, as the project's settings say it."""
FAULTS = int(os.environ.get("ETCDAERO_TEST_CHAOS_FAULTS", "0"))
"""So many faults at least, if any number is named: the long form, with more processes, which have less to do each."""
BUMP_EVERY = 2.0 if FAULTS else 0.7
"""Seconds after which sources change."""
OPTIONS: dict[str, tuple[str, ...]] = {"plain": (), "interrupted": ("--interrupted",), "forking": ("--forking",)}
READERS = {
    f"{kind}-{number // 3}" if number > 2 else kind: OPTIONS[kind]
    for number, kind in enumerate([*OPTIONS] * 10)
    if number < int(os.environ.get("ETCDAERO_TEST_CHAOS_READERS", "8" if FAULTS else "3"))
}
SERVICES = ["first", "second", *(f"service-{number}" for number in range(3, 10))][
    : int(os.environ.get("ETCDAERO_TEST_CHAOS_SERVICES", "3" if FAULTS else "2"))
]
UNKNOWN = {"version": None, "state": None, "error": None, "busy_with": None, "number": -1, "refused": ""}
"""What a reader that has not begun says of a dataset."""
DISK = "64m"
"""Room on the disk of the files, where one can be mounted: far more than they take."""


def alias_of(name: str) -> str:
    return name.partition("-")[0]


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """Return what a process has written, but for what it was killed over."""
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


class Reader:
    """A process that reads everything and checks it."""

    def __init__(self, site: ChaosSite, name: str, seed: int, environment: Mapping[str, str]) -> None:
        self.name = name
        self._site = site
        self._environment = {**environment, "CHAOS_READER": name, "CHAOS_PAUSE": "0.4" if FAULTS else "0.1"}
        self._rows_read = 0
        self._path = site.directory / f"{name}.report"
        self.start(seed)

    def start(self, seed: int) -> None:
        """Start it, for the first time or after its end."""
        self._rows_read = self.rows_read
        self._path.unlink(missing_ok=True)
        self.process = self._site.start("read", "--seed", str(seed), *READERS[self.name], **self._environment)
        self.disturbed_at = time.monotonic()
        """When a fault last ended that kept it from following."""

    def report(self) -> dict[str, Any]:
        """How it stood a moment ago; empty before it has begun."""
        return json.loads(self._path.read_text()) if self._path.exists() else {}

    @property
    def rows_read(self) -> int:
        """How many rows it has read, and those before it."""
        return self._rows_read + int(self.report().get("rows", 0))

    def dataset(self, name: str) -> dict[str, Any]:
        told: dict[str, Any] = self.report().get("datasets", {}).get(name, UNKNOWN)
        return told


class ChaosSite(Site):
    """A deployment with one alias on servers and one on files."""

    def __init__(self, directory: Path, *, kv: str, records: str, files: Path, direct: Mapping[str, str]) -> None:
        """``kv``, ``records``: addresses for processes; ``direct``: those that no fault of connections is about."""
        super().__init__(directory, kv=kv, records=records, prefix="chaos")
        self._files = files
        self._direct = direct
        self.eras = 0
        path = self.whole_environment["PYTHONPATH"]
        self.whole_environment |= {
            "DJANGO_SETTINGS_MODULE": "chaos_settings",
            "PYTHONPATH": f"{PROJECT}{os.pathsep}{path}",
            "CHAOS_FILES": str(files),
            "CHAOS_EVERY": "3" if FAULTS else "2",
        }
        self._writing = threading.Lock()
        self.numbers = dict.fromkeys(ALL + ASKED, 0)
        self.bad: set[str] = set()
        """Datasets whose source is to be refused."""
        self._stores: dict[str, KV] = {}
        for name in self.numbers:
            self.bump(name)

    def bump(self, name: str) -> int:
        """Change the source; return its number."""
        with self._writing:
            self.numbers[name] += 1
            source = {"number": self.numbers[name], "bad": name in self.bad}
            path = self.directory / f"{name}.new"
            path.write_text(json.dumps(source))
            os.replace(path, self.directory / f"{name}.source")
            return self.numbers[name]

    def begin_era(self) -> None:
        """Tell readers that what they counted in the coordination store on servers is lost, or as it was once."""
        self.eras += 1
        path = self.directory / "era.new"
        path.write_text(str(self.eras))
        os.replace(path, self.directory / "era")

    def service(self, environment: dict[str, str]) -> Process:
        return self.start("etcdaero_refresh", "--loop", "--json", **environment)

    def blocker(self, name: str, reader: str) -> Path:
        """The file that makes ``prepare()`` of a dataset wait in a reader."""
        return self.directory / f"{name}.{reader}.blocked"

    def seen(self) -> list[dict[str, Any]]:
        """The versions that readers have read, in order for each of them."""
        return [line for name in READERS for line in _whole_lines(self.directory / f"{name}.seen")]

    def refreshes(self) -> list[dict[str, Any]]:
        """What all that refreshed has said about it."""
        return [line for process in self._processes for line in _whole_lines(process.output_path) if "outcome" in line]

    def client(self, alias: str) -> KV:
        """The coordination store of an alias, kept open."""
        if alias not in self._stores:
            url, prefix = (self._direct["KV"], self.prefix) if alias == "servers" else (self.file_url, "files")
            engine = schemes.open_engine(schemes.parse(url, plane=Plane.KV).of_alias(prefix), timeout=10)
            self._stores[alias] = KV(engine, prefix=f"{prefix}/")
        return self._stores[alias]

    @property
    def file_url(self) -> str:
        return f"sqlite:///{self._files}/kv.sqlite3"

    def empty_records(self, alias: str) -> int:
        """Delete all records of an alias; return how many there were."""
        url, prefix = (self._direct["RECORDS"], self.prefix) if alias == "servers" else (self._records_url, "files")
        store = schemes.open_store(schemes.parse(url, plane=Plane.RECORDS).of_alias(prefix), timeout=10)
        try:
            return store.delete_many([key for key, _ in store.scan(records_of_all(prefix))])
        finally:
            store.close()

    @property
    def _records_url(self) -> str:
        return f"sqlite:///{self._files}/records.sqlite3"

    def layout_of(self, name: str) -> Layout:
        return Layout(prefix=self.prefix if alias_of(name) == "servers" else "files", name=name, schema=1)

    def groups_left(self) -> list[int]:
        """Return the processes that have ended and whose children have not."""
        left = []
        for process in self._processes:
            if not process.running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, 0)
                    left.append(process.pid)
        return left

    def close(self) -> None:
        super().close()
        clean_up(process.pid for process in self._processes)
        for kv in self._stores.values():
            kv.close()
            kv.engine.close()
