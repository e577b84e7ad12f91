"""The doctor on files of SQLite and on a database, and what it tells of passwords."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import override_settings

from django_etcdaero.doctor import Severity, examine
from django_etcdaero.doctor.stores import database
from django_etcdaero.doctor.subjects import Records
from django_etcdaero.stores.database import DatabaseAddress
from tests.doctor.conftest import told
from tests.doctor.judging import judge, severities
from tests.management.running import declare, run
from tests.paths import ROOT
from tests.records.database.serving import ALIAS
from tests.test_passwords import PASSWORD, URLS

OK, WARNING, ERROR = Severity.OK, Severity.WARNING, Severity.ERROR

pytestmark = pytest.mark.usefixtures("registry")

Stores = Callable[..., None]


def test_files(stores: Stores, tmp_path: Path) -> None:
    declare("prices")
    kv, records = tmp_path / "kv.sqlite3", tmp_path / "records.sqlite3"
    stores(default={"KV": f"sqlite:///{kv}", "RECORDS": f"sqlite:///{records}"})
    first = examine(write_probe=True)
    assert told(first, "kv.write").severity is told(first, "records.write").severity is OK
    report = examine()
    assert [each.severity for each in report.findings if each.check == "file.usable"] == [OK, OK]
    assert [each.severity for each in report.findings if each.check == "file.space"] == [OK, OK]
    assert told(report, "datasets.published").severity is ERROR
    assert not [each for each in report.findings if each.check.startswith(("etcd.", "aerospike."))]


def test_a_file_that_is_none(stores: Stores, tmp_path: Path) -> None:
    (tmp_path / "kv.sqlite3").write_text("no database")
    (tmp_path / "directory").mkdir()
    stores(default={"KV": f"sqlite:///{tmp_path}/kv.sqlite3", "RECORDS": f"sqlite:///{tmp_path}/directory"})
    report = examine()
    assert told(report, "kv.read").severity is ERROR
    assert told(report, "records.read").severity is ERROR
    assert {each.severity for each in report.findings if each.check == "file.usable"} == {WARNING, ERROR}


@pytest.mark.slow
@pytest.mark.usefixtures("postgresql_table", "databases_allowed")
def test_records_in_a_database(stores: Stores) -> None:
    declare().refresh()
    stores(default={"KV": "mem:", "RECORDS": f"db:{ALIAS}"})
    declare("other").refresh()
    report = examine(timeout=60, write_probe=True)
    for check in ("records.read", "records.write", "database.table"):
        assert told(report, check).severity is OK


def test_a_database_without_the_table() -> None:
    store = Records(place="x", aliases=("default",), address=DatabaseAddress("main"), prefix="tests")
    (finding,) = judge(database.table, store, {database.MIGRATED: False})
    assert finding.severity is ERROR
    assert finding.remedy == "python manage.py migrate django_etcdaero --database main"
    assert severities(database.table, store, {database.MIGRATED: True}) == [OK]


@pytest.mark.parametrize("text", URLS)
def test_no_output_has_a_password(text: str) -> None:
    for entries in ({"KV": text}, {"RECORDS": text}, {"PREFIX": text}, {"KV_PASSWORD": text}, {text: text}):
        caches = {"default": {"BACKEND": "django_etcdaero.cache.EtcdAeroCache", "LOCATION": text}}
        with override_settings(ETCDAERO={"default": {"KV": "mem:", **entries}, text: entries}, CACHES=caches):
            assert PASSWORD not in str(run("etcdaero_doctor", "--verbosity", "3", "--only", "project,kv,records"))
            assert PASSWORD not in run("etcdaero_doctor", "--json", "--write-probe", "--skip", "datasets")[1]


@pytest.mark.slow
def test_ctrl_c_ends_it_while_a_store_does_not_answer(tmp_path: Path) -> None:
    settings = tmp_path / "silent_settings.py"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"etcd://127.0.0.1:{silent.getsockname()[1]}"
        settings.write_text(
            "SECRET_KEY = 'x'\nINSTALLED_APPS = ['django_etcdaero']\n"
            f"ETCDAERO = {{'default': {{'KV': '{url}', 'RECORDS': 'mem:', 'PREFIX': 'tests'}}}}\n"
        )
        command = [sys.executable, "-m", "django", "etcdaero_doctor", "--settings", settings.stem, "--timeout", "200"]
        with subprocess.Popen(
            command,
            env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            silent.settimeout(60)
            connection, _ = silent.accept()  # it asks, and waits for the answer
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=60)
            connection.close()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert out == ""
