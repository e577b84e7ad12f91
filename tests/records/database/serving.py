"""A PostgreSQL of the tests' own, on loopback, and its databases as aliases of ``settings.DATABASES``.

Its programs are those of the system (Debian: ``apt-get install postgresql``), or in the directory that
``ETCDAERO_TEST_POSTGRESQL`` names; then it is an error, and no reason to skip, if there are none.
"""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from django_etcdaero.records.database.store import DatabaseStore
from django_etcdaero.stores.database import DatabaseAddress
from tests.keyvalue.etcd.servers import free_ports
from tests.waiting import wait_until

NAMED = os.environ.get("ETCDAERO_TEST_POSTGRESQL")
ALIAS = "postgresql-of-tests"
SHARED = "shared"
"""The database of :data:`ALIAS`."""
START_TIMEOUT = 60.0


def programs() -> Path:
    """Return the directory of ``postgres`` and ``initdb``; skips the test if there is none, or fails it."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    for directory in (
        [Path(NAMED)] if NAMED else [*reversed(found), Path(shutil.which("initdb") or "/").resolve().parent]
    ):
        if (directory / "initdb").exists() and (directory / "postgres").exists():
            return directory
    missing = f"no PostgreSQL in {NAMED or '/usr/lib/postgresql or PATH'}: apt-get install postgresql"
    if NAMED:
        pytest.fail(missing)
    pytest.skip(missing)


def _user() -> str:
    """Return the user that it runs as: it refuses to be root."""
    if os.getuid():
        return getpass.getuser()
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.fail("PostgreSQL does not run as root, and there is no other user for it")


class PostgreSQLServer:
    """One server; its port and its data stay the same over restarts."""

    password = "of the tests"

    def __init__(self) -> None:
        self._programs = programs()
        self._user = _user()
        # Not a directory of pytest: those are for one user, and this server runs as another one.
        self.directory = Path(tempfile.mkdtemp(prefix="etcdaero-postgresql-"))
        (self.port,) = free_ports(1)
        self.process: subprocess.Popen[bytes] | None = None
        self._as: dict[str, Any] = {}
        if not os.getuid():
            entry = pwd.getpwnam(self._user)
            os.chown(self.directory, entry.pw_uid, entry.pw_gid)
            self._as = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def create(self) -> None:
        secret = self.directory / "password"
        secret.write_text(self.password)
        secret.chmod(0o644)
        command = [self._programs / "initdb", "--no-sync", "--username=tests", "--encoding=UTF8", "--locale=C"]
        command += ["--auth=scram-sha-256", f"--pwfile={secret}", "-D", self.directory / "data"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **self._as)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, **changes: str) -> None:
        """Start it and wait until it answers; ``changes`` are further settings of it."""
        command = [self._programs / "postgres", "-D", self.directory / "data", "-p", str(self.port)]
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": "100",
            "max_wal_size": "256MB",
            **changes,
        }
        command += [each for name, value in settings.items() for each in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/", **self._as
            )
        wait_until(self.answers, START_TIMEOUT, f"the start of PostgreSQL: {self.log}")

    def answers(self) -> bool:
        import psycopg

        try:
            self.ask("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()[-500:]

    def ask(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Carry out a statement of a test, on a connection of its own."""
        import psycopg

        where = {"host": "127.0.0.1", "port": self.port, "user": "tests", "password": self.password}
        with psycopg.connect(dbname=database, autocommit=True, connect_timeout=5, **where) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def signal_all(self, number: signal.Signals) -> None:
        """Signal the server and the processes that serve its connections."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (self.process.pid, *map(int, children)):
            with suppress(ProcessLookupError):  # one that has just ended
                os.kill(pid, number)
            if number == signal.SIGSTOP:
                wait_until(lambda pid=pid: stopped(pid), what="a process that has stopped")

    def stop(self) -> None:
        """End it at once; clients lose their connections."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
            self.process = None

    def settings(self, database: str, **changes: Any) -> dict[str, Any]:
        """Return what ``settings.DATABASES`` says of a database of it."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": database,
            "USER": "tests",
            "PASSWORD": self.password,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            **changes,
        }

    @contextmanager
    def running(self) -> Iterator[PostgreSQLServer]:
        try:
            self.create()
            self.start()
            yield self
        finally:
            self.stop()
            shutil.rmtree(self.directory, ignore_errors=True)


def stopped(pid: int) -> bool:
    """Tell whether no thread of a process runs any more; SIGSTOP takes its time. (One that had ended waits as "Z".)"""
    try:
        stats = [(task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except FileNotFoundError:
        return True
    return all(stat.rpartition(")")[2].split()[0] in "TZ" for stat in stats)


@contextmanager
def alias(name: str, entry: dict[str, Any]) -> Iterator[None]:
    """Let ``settings.DATABASES`` have an alias, as if it had it from the start."""
    whole = connections.configure_settings({"default": {}, name: entry})[name]
    connections.settings[name] = whole
    try:
        yield
    finally:
        connections[name].close()
        del connections[name]
        del connections.settings[name]


def migrate(name: str) -> None:
    """Let the database of an alias have the table of records."""
    call_command("migrate", "django_etcdaero", database=name, verbosity=0)
    connections[name].close()


CLOCK = """
CREATE SCHEMA tests;
CREATE TABLE tests.clock (at timestamptz NOT NULL);
INSERT INTO tests.clock VALUES (pg_catalog.statement_timestamp());
CREATE FUNCTION tests.statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT at FROM tests.clock';
"""
"""A clock that stands still, before that of the server in the search path."""


class Room:
    """A room of the table, for one test; the clock of its database stands still."""

    def __init__(self, server: PostgreSQLServer) -> None:
        self.address = DatabaseAddress(ALIAS, uuid.uuid4().hex[:31])
        self._server = server

    def store(self, **options: Any) -> DatabaseStore:
        return DatabaseStore(self.address, **{"timeout": 20.0, **options})

    def pass_time(self, seconds: float) -> None:
        """Let the clock of the database go forward."""
        self._server.ask(f"UPDATE tests.clock SET at = at + interval '{seconds} seconds'", SHARED)
