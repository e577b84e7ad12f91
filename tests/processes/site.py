"""A deployment of the test project: its directory, its source, its processes, and a look into its stores."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from django_etcdaero import schemes
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.layout import Layout
from django_etcdaero.datasets.state.presence import processes
from django_etcdaero.datasets.state.reading import read_state
from django_etcdaero.datasets.state.stored_state import StoredState
from django_etcdaero.exceptions import StoreBusy
from django_etcdaero.keyvalue import KV
from django_etcdaero.records.store import Meta, RecordStore
from django_etcdaero.stores.address import Address, Plane
from tests.waiting import wait_until

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

PROJECT = Path(__file__).with_name("project")
LOCK_TTL = 2
PATIENCE = 60.0
"""Seconds after which a process that should have ended or answered has failed its test."""


def on_servers_and_some_on_files(kinds: Iterable[str], *on_files: str) -> list[ParameterSet]:
    """Return pairs of a deployment and a kind: each kind on servers, some also on files, to save time."""
    servers = [pytest.param("servers", kind, marks=pytest.mark.servers) for kind in kinds]
    return servers + [pytest.param("files", kind) for kind in on_files]


def alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid: int) -> list[int]:
    """Return the ids of the child processes of a process, none once it has ended."""
    found = []
    for each in Path(f"/proc/{pid}/task").glob("*/children"):  # of each thread
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += [int(child) for child in each.read_text().split()]
    return found


def opened_by(pid: int) -> set[str]:
    """Return the files and sockets that a process holds open, by the names that the kernel gives them."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(link))
    return found


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Ended(NamedTuple):
    """What a process that ended leaves."""

    code: int
    output: str
    errors: str

    @property
    def results(self) -> list[dict[str, Any]]:
        """The lines of JSON that it printed."""
        return [json.loads(line) for line in self.output.splitlines()]

    @property
    def outcomes(self) -> list[str]:
        return [result["outcome"] for result in self.results]


class Process:
    """A process of the project. What it prints goes to files, so that it never waits for a reader."""

    def __init__(self, command: list[str], site: Site, environment: dict[str, str], number: int) -> None:
        self._site = site
        self._output = site.directory.parent / f"{number}.out"
        self._errors = site.directory.parent / f"{number}.err"
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env=site.whole_environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def output_path(self) -> Path:
        return self._output

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    @property
    def stopped(self) -> bool:
        """Whether SIGSTOP holds it."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    @property
    def children(self) -> list[int]:
        """The ids of its child processes."""
        return children_of(self.pid)

    @property
    def descendants(self) -> list[int]:
        """The ids of its child processes and of theirs."""
        found = self.children
        for pid in found:  # which grows meanwhile
            found += children_of(pid)
        return found

    @property
    def open_stores(self) -> list[str]:
        """What it holds open of the stores."""
        return self._site.stores_open_in(self.pid)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def signal_group(self, number: int) -> None:
        """Signal it and its children, as a terminal does."""
        os.killpg(self.pid, number)

    def wait(self, timeout: float = PATIENCE) -> Ended:
        """Wait for its end."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGABRT)  # Python tells where its threads are
            self._process.wait(PATIENCE)
            raise AssertionError(f"still running after {timeout} s:\n{self.output}\n{self.errors}") from None
        return Ended(code, self.output, self.errors)

    def end(self) -> None:
        """Kill it and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)


class Agent:
    """A process that does what it is told, one line a command, and answers in JSON."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def ask(self, command: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the agent ended instead of answering {command!r}"
        return json.loads(answer)

    @property
    def version(self) -> int | None:
        """The version it holds."""
        version: int | None = self.ask("status")["version"]
        return version

    def wait_for(self, version: int, timeout: float = 20.0) -> None:
        """Wait until it holds this version."""
        wait_until(lambda: self.version == version, timeout, f"version {version} in process {self.pid}")

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def wait_for_rows(agent: Agent, rows: Mapping[str, object]) -> None:
    wait_until(lambda: agent.ask("read").get("rows") == rows, 20, f"{rows} in process {agent.pid}")
    wait_until(lambda: agent.ask("status")["state"] == "VALID", 20, "a valid reader")


def wait_for_state(agent: Agent, state: str) -> None:
    wait_until(lambda: agent.ask("status")["state"] == state, 30, f"{state} in process {agent.pid}")


class Site:
    """A deployment; ``directory`` holds its source, and its stores unless ``kv`` and ``records`` are URLs of others."""

    def __init__(self, directory: Path, *, kv: str = "", records: str = "", prefix: str = "shop") -> None:
        self.directory = directory
        self.prefix = prefix
        self.urls = {
            "KV": kv or f"sqlite:///{directory}/kv.sqlite3",
            "RECORDS": records or f"sqlite:///{directory}/records.sqlite3",
        }
        self.whole_environment = {
            **os.environ,
            "SHOP_DIRECTORY": str(directory),
            "SHOP_KV": self.urls["KV"],
            "SHOP_RECORDS": self.urls["RECORDS"],
            "SHOP_PREFIX": prefix,
            "DJANGO_SETTINGS_MODULE": "settings",
            "PYTHONPATH": f"{PROJECT}{os.pathsep}{directory}",
            "PYTHONFAULTHANDLER": "1",
            "DJANGO_COLORS": "nocolor",
        }
        self._processes: list[Process] = []
        self._agents: list[Agent] = []
        if not directory.exists():
            directory.mkdir()
            (directory / "touchable.py").touch()
            self.mode("")
            self.rows({"a": 1, "b": {"price": 2}, "c": [3]})

    def copy(self, directory: Path) -> Site:
        """Return a deployment of its own with the same source and the same in its stores."""
        shutil.copytree(self.directory, directory)
        return Site(directory)

    # the source ------------------------------------------------------------------------------------------------------

    def rows(self, rows: Mapping[str, Any]) -> None:
        """Let the source have these rows."""
        (self.directory / "rows.json").write_text(json.dumps(rows))

    def mode(self, mode: str) -> None:
        """Let ``load()`` misbehave in this way; "" for not at all."""
        (self.directory / "mode").write_text(mode)

    def shut_gate(self) -> None:
        """Make each load wait."""
        (self.directory / "gate").touch()

    def open_gate(self) -> None:
        """Let the loads go on."""
        (self.directory / "gate").unlink()

    def loads(self) -> list[dict[str, Any]]:
        """Return the calls of ``load()`` so far, each with ``pid`` and ``at``."""
        log = self.directory / "loads"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def wait_for_load(self, number: int = 1) -> None:
        """Wait until so many loads have begun."""
        wait_until(lambda: len(self.loads()) >= number, 30, f"load number {number}")

    # processes -------------------------------------------------------------------------------------------------------

    def start(self, *command: str, **environment: str) -> Process:
        """Start ``manage.py`` with arguments, or another program ("-m gunicorn", or a path)."""
        if os.path.isabs(command[0]):
            whole = [*command]
        else:
            whole = [sys.executable, *(command if command[0] == "-m" else ("manage.py", *command))]
        started = Process(whole, self, environment, len(self._processes))
        self._processes.append(started)
        return started

    def run(self, *command: str, **environment: str) -> Ended:
        """Start it and wait for its end."""
        return self.start(*command, **environment).wait()

    def refresh(self, *options: str, **environment: str) -> dict[str, Any]:
        """Run ``etcdaero_refresh`` and return its one result, with the exit ``code``."""
        ended = self.run("etcdaero_refresh", "--json", *options, **environment)
        assert ended.output.count("\n") == 1, ended
        return {**ended.results[0], "code": ended.code}

    def publish(self, rows: Mapping[str, Any] | None = None) -> int:
        """Refresh at once and return the version that was published."""
        if rows is not None:
            self.rows(rows)
        result = self.refresh("--force")
        assert (result["code"], result["outcome"]) == (0, "refreshed"), result
        version: int = result["version"]
        return version

    def status(self) -> dict[str, Any]:
        """Return what ``etcdaero_status --json`` says."""
        ended = self.run("etcdaero_status", "--json")
        assert ended.code == 0, ended
        document: dict[str, Any] = json.loads(ended.output)
        return document

    def agent(self, **environment: str) -> Agent:
        """Start a process that does as it is told."""
        process = subprocess.Popen(
            [sys.executable, "manage.py", "agent"],
            cwd=PROJECT,
            env=self.whole_environment | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._agents.append(Agent(process))
        return self._agents[-1]

    def freeze(self, process: Process) -> None:
        """Stop a process at a moment at which it is in no transaction of the coordination store."""

        def stopped_outside_a_transaction() -> bool:
            process.signal(signal.SIGSTOP)
            wait_until(lambda: process.stopped, what="a process that has stopped")
            try:
                with self.kv() as kv:
                    kv.put("probe", "", timeout=0.2)
            except StoreBusy:
                process.signal(signal.SIGCONT)
                return False
            return True

        wait_until(stopped_outside_a_transaction, what="a stopped process that blocks nobody")

    def close(self) -> None:
        """Kill whatever still runs."""
        for process in self._processes:
            process.end()
        for agent in self._agents:
            agent.end()

    # the stores ------------------------------------------------------------------------------------------------------

    def location(self, plane: Plane) -> Address:
        return schemes.parse(self.urls[plane.value], plane=plane).of_alias(self.prefix)

    def stores_open_in(self, pid: int) -> list[str]:
        """Return what a process holds open of the stores: their files."""
        return sorted(name for name in opened_by(pid) if ".sqlite3" in name)

    def layout(self, schema: int = 1) -> Layout:
        return Layout(prefix=self.prefix, name="prices", schema=schema)

    @contextlib.contextmanager
    def kv(self) -> Iterator[KV]:
        """The coordination store, opened for a look."""
        engine = schemes.open_engine(self.location(Plane.KV), timeout=5)
        kv = KV(engine, prefix=f"{self.prefix}/")
        try:
            yield kv
        finally:
            kv.close()
            engine.close()

    @contextlib.contextmanager
    def records(self) -> Iterator[RecordStore]:
        """The record store, opened for a look."""
        store = schemes.open_store(self.location(Plane.RECORDS), timeout=5)
        try:
            yield store
        finally:
            store.close()

    def state(self) -> StoredState:
        """What the coordination store says about the dataset."""
        with self.kv() as kv:
            return read_state(kv, self.layout())

    def registered(self) -> dict[int, int | None]:
        """Return the processes that are registered as readers, each with the version it says it holds."""
        with self.kv() as kv:
            return {process.pid: process.versions.get("prices") for process in processes(kv)}

    def lock_is_free(self) -> bool:
        with self.kv() as kv:
            return kv.lock(self.layout().lock).holder() is None

    def stored(self) -> dict[bytes, Meta]:
        """Return the records of the dataset by digest, the copy of the announcement left out."""
        start = self.layout().records
        with self.records() as store:
            found = {key.removeprefix(start): meta for key, meta in store.scan(start)}
        found.pop(b"current", None)
        return found

    def manifest(self, root: str) -> Manifest:
        """Return the list of what a version consists of."""

        def fetch(digests: list[bytes]) -> dict[bytes, bytes]:
            keys = {self.layout().record(digest): digest for digest in digests}
            values = store.get_many(list(keys))
            return {keys[key]: record.value for key, record in values.items() if isinstance(record.value, bytes)}

        with self.records() as store:
            return Manifest.load(fetch, bytes.fromhex(root))

    def named_by(self, root: str) -> set[bytes]:
        """Return the digests of all records that a version consists of."""
        return set(self.manifest(root).digests())
