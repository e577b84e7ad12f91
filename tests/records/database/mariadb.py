"""A MariaDB of the tests' own, for the contract suite: where ``ETCDAERO_TEST_MARIADB`` names its ``mariadbd``.

It needs a driver (``mysqlclient``) that is no dependency of the tests.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connections

from django_etcdaero.records.database.store import DatabaseStore
from django_etcdaero.records.database.table import TABLE
from django_etcdaero.stores.database import DatabaseAddress
from tests.keyvalue.etcd.servers import free_ports
from tests.records.database.serving import START_TIMEOUT, stopped
from tests.waiting import wait_until

PROGRAM = os.environ.get("ETCDAERO_TEST_MARIADB")
MARIADB = "mariadb-of-tests"
"""The alias of its database."""

START = """
CREATE DATABASE records;
CREATE DATABASE nothing;
CREATE USER tests@localhost IDENTIFIED BY 'of the tests';
GRANT ALL ON records.* TO tests@localhost;
GRANT ALL ON nothing.* TO tests@localhost;
"""


class MariaDBServer:
    """One server. The clock of its connections stands still."""

    def __init__(self) -> None:
        assert PROGRAM is not None
        self.directory = Path(tempfile.mkdtemp(prefix="etcdaero-mariadb-"))
        (self.port,) = free_ports(1)

    @contextmanager
    def running(self) -> Iterator[MariaDBServer]:
        data, socket = self.directory / "data", self.directory / "socket"
        start = self.directory / "start.sql"
        start.write_text(START)
        common = ["--no-defaults", f"--datadir={data}", *(["--user=root"] if not os.getuid() else [])]
        install = ["mariadb-install-db", *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(install, capture_output=True, check=True)
        options = [f"--port={self.port}", f"--socket={socket}", "--bind-address=127.0.0.1", f"--init-file={start}"]
        options += ["--innodb-flush-log-at-trx-commit=0", "--init-connect=SET timestamp = 1800000000"]
        try:
            with (self.directory / "log").open("wb") as log:
                process = self._process = subprocess.Popen([str(PROGRAM), *common, *options], stdout=log, stderr=log)
            wait_until(self._answers, START_TIMEOUT, "the start of MariaDB")
            yield self
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(30)
            shutil.rmtree(self.directory, ignore_errors=True)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it do nothing for a while."""
        self._process.send_signal(signal.SIGSTOP)
        wait_until(lambda: stopped(self._process.pid), what="a process that has stopped")
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        import MySQLdb

        try:
            MySQLdb.connect(host="127.0.0.1", port=self.port, user="tests", password="of the tests").close()
        except MySQLdb.OperationalError:
            return False
        return True

    def settings(self) -> dict[str, Any]:
        return {
            "ENGINE": "django.db.backends.mysql",
            "NAME": "records",
            "USER": "tests",
            "PASSWORD": "of the tests",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
        }


class Room:
    """A room of the table, for one test."""

    def __init__(self, name: str = MARIADB) -> None:
        self.address = DatabaseAddress(name, uuid.uuid4().hex[:31])

    def store(self, **options: Any) -> DatabaseStore:
        return DatabaseStore(self.address, **{"timeout": 20.0, **options})

    def pass_time(self, seconds: float) -> None:
        """Let the records expire so much earlier."""
        with connections[MARIADB].cursor() as cursor:
            statement = f"UPDATE {TABLE} SET expires = expires - %s WHERE room = %s"
            cursor.execute(statement, (int(seconds * 1000), self.address.room))
