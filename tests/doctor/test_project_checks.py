"""What the checks of the project find, on stores in memory."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import OperationalError
from django.test import override_settings
from pytest_django import Settings

from django_etcdaero import conf, kv
from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.state.overdue import OverdueLoad, leave_word
from django_etcdaero.datasets.state.presence import Process
from django_etcdaero.doctor import Finding, Severity, examine
from django_etcdaero.doctor.project import agreement, locks, pages, processes, sharing, state
from django_etcdaero.doctor.project import datasets as dataset_checks
from django_etcdaero.doctor.project import settings as settings_checks
from django_etcdaero.doctor.stores import files, keys, records
from django_etcdaero.doctor.subjects import Alias, File, Project, Records
from django_etcdaero.exceptions import (
    ClusterError,
    ConfigurationError,
    DeadlineExceeded,
    PermissionDenied,
    StoreFull,
    Unauthenticated,
)
from django_etcdaero.inspection.database_file import DatabaseFile
from django_etcdaero.inspection.locks import Contended, Kind
from django_etcdaero.keyvalue.queue.holder import Holder
from django_etcdaero.runtime import runtime
from django_etcdaero.stores.local import FileAddress, MemoryAddress
from tests.doctor.judging import judge, severities
from tests.management.running import declare, register

OK, INFO, WARNING, ERROR = Severity.OK, Severity.INFO, Severity.WARNING, Severity.ERROR
DAY = 24 * 3600

pytestmark = pytest.mark.usefixtures("registry")


def found(check: str) -> list[Finding]:
    return list(examine(only=[check]).findings)


def alias() -> Alias:
    return Alias(place="alias default", aliases=("default",), settings=conf.get())


# --- datasets --------------------------------------------------------------------------------------------------------


def test_a_dataset_that_was_never_published() -> None:
    declare("prices")
    (finding,) = found("datasets.published")
    assert finding.severity is ERROR
    assert finding.remedy == "python manage.py etcdaero_refresh prices"


def test_a_state_that_makes_no_sense() -> None:
    declare().refresh()
    odd = declare("odd")
    odd.refresh()
    kv.put(odd.layout("tests").pin, "no pin")
    (finding,) = found("datasets.published")
    assert finding.severity is ERROR
    assert "the state of odd makes no sense" in finding.seen


@pytest.mark.parametrize(
    ("options", "age", "expected"),
    [
        ({"refresh_every": timedelta(hours=1)}, 3600, OK),
        ({"refresh_every": timedelta(hours=1)}, 4 * 3600, WARNING),
        ({"refresh_every": timedelta(hours=1), "max_stale": timedelta(hours=3)}, 4 * 3600, ERROR),
        ({}, 100 * DAY, OK),
    ],
)
def test_datasets_that_were_loaded_long_ago(options: dict[str, Any], age: float, expected: Severity) -> None:
    declare(**options).refresh()
    read = state.DATASETS.ask(alias(), 5)
    old = replace(read, overviews=tuple(replace(each, age=age) for each in read.overviews))
    assert severities(dataset_checks.fresh, alias(), {state.DATASETS: old}) == [expected]


def test_a_load_that_failed() -> None:
    prices = declare()
    prices.refresh()
    prices.errors.append(RuntimeError("the source is down"))
    prices.refresh(force=True)
    (finding,) = found("datasets.failures")
    assert finding.severity is WARNING
    assert finding.seen.endswith("(1 in a row): RuntimeError: the source is down")


def test_a_load_that_hangs() -> None:
    prices, stores = declare(), runtime.stores("default")
    load = OverdueLoad(since=time.time() - 700, limit=600.0, host="far", pid=7)
    word = leave_word(stores.kv, prices.layout(stores.prefix), load, ttl=10)
    assert word is not None
    (finding,) = found("datasets.hanging")
    word.close()
    assert finding.severity is ERROR
    assert "far/7 for 12 min" in finding.seen


def test_a_pin_is_told() -> None:
    prices = declare()
    prices.refresh()
    prices.pin(reason="a bad feed", by="ann")
    (finding,) = found("datasets.pinned")
    assert finding.severity is INFO
    assert "prices is held on version 1" in finding.seen
    assert finding.seen.endswith("by ann: a bad feed")
    assert finding.remedy == "python manage.py etcdaero_unpin prices"


def test_another_project_under_the_prefix(settings: Settings) -> None:
    settings.ETCDAERO = {"default": {"KV": "mem:", "RECORDS": "mem:", "PREFIX": "tests", "PROJECT": "one"}}
    declare().refresh()
    settings.ETCDAERO = {"default": {"KV": "mem:", "RECORDS": "mem:", "PREFIX": "tests", "PROJECT": "two"}}
    (finding,) = found("datasets.prefix")
    assert finding.severity is WARNING
    assert "another project (one)" in finding.seen


def test_clocks_and_garbage() -> None:
    declare().refresh()
    read = state.DATASETS.ask(alias(), 5)

    def changed(**changes: Any) -> Any:
        return {state.DATASETS: replace(read, overviews=tuple(replace(each, **changes) for each in read.overviews))}

    for skew, expected in ((0, OK), (4, OK), (60, WARNING), (-60, WARNING)):
        assert severities(dataset_checks.clocks, alias(), changed(clock_skew=skew)) == [expected]
    for size, expected in ((0, OK), (1 << 30, INFO)):
        assert severities(dataset_checks.garbage, alias(), changed(expiring_bytes=size)) == [expected]


def test_records_of_the_current_version_that_are_gone_or_will_go() -> None:
    prices = declare()
    prices.refresh()
    stores = runtime.stores("default")
    blocks = BlockStore(stores.records, prices.layout(stores.prefix))
    names = [key[-20:] for key, meta in stores.records.scan() if not key.endswith(b"current")]
    blocks.renew(names, 3600)
    (finding,) = found("datasets.whole")
    assert finding.severity is ERROR
    assert finding.seen.endswith("records of prices will expire")
    stores.records.delete_many([key for key, _ in stores.records.scan() if not key.endswith(b"current")])
    (finding,) = found("datasets.whole")
    assert finding.severity is ERROR
    assert finding.seen.endswith("records of prices are missing")
    assert finding.remedy == "python manage.py etcdaero_refresh prices --force"


def test_a_dataset_that_no_code_declares(registry: dict[str, Any]) -> None:
    declare("former").refresh()
    registry.clear()
    (finding,) = found("datasets.leftover")
    assert (finding.severity, finding.seen) == (INFO, "former (schema 1)")
    assert finding.remedy.startswith("python manage.py etcdaero_forget former --schema 1,")


# --- processes -------------------------------------------------------------------------------------------------------


def test_processes_on_an_old_version_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    prices = declare()
    prices.refresh()
    prices.source["a"] = 2
    prices.refresh(force=True)
    for number in range(5):
        register(number, {"prices": 1 + (number == 0)}, {"prices": "VALID"})
    assert [each.severity for each in found("processes.behind")] == [OK]  # it was published just now
    monkeypatch.setattr(processes, "FOLLOW", 0.0)
    (finding,) = found("processes.behind")
    assert finding.severity is WARNING
    assert "4 of 5 processes do not hold version 2" in finding.seen
    assert finding.seen.endswith("and 1 more")
    assert f"/{os.getpid()} on 1" in finding.seen


def test_no_process_that_reads() -> None:
    declare().refresh()
    assert [each.severity for each in found("processes.registered")] == [INFO]
    register(1, {"prices": 1}, {})
    assert [each.severity for each in found("processes.registered")] == [OK]


@pytest.mark.parametrize(
    ("told", "age", "expected"),
    [
        ("VALID", 1e6, [OK]),
        ("STALE", 1e6, [ERROR]),
        ("INTERRUPTED", 1e6, [WARNING]),
        ("INITIALIZING", 1e6, [WARNING]),
        ("INITIALIZING", 0, [OK]),
    ],
)
def test_states(told: str, age: float, expected: list[Severity]) -> None:
    started = time.time() - age
    one = Process(
        host="h", pid=1, started=started, versions={"prices": 1}, states={"prices": told}, schemas={"prices": 1}
    )
    assert severities(processes.states, alias(), {state.PROCESSES: (one,)}) == expected


@pytest.mark.parametrize(("ahead", "expected"), [(-100, OK), (600, WARNING)])
def test_a_process_that_started_in_the_future(ahead: float, expected: Severity) -> None:
    one = Process(host="h", pid=1, started=time.time() + ahead, versions={}, states={}, schemas={})
    assert severities(processes.clocks, alias(), {state.PROCESSES: (one,)}) == [expected]


def running(number: int, **told: Any) -> Process:
    return Process(host="h", pid=number, started=1.0, versions={}, states={}, schemas={}, **told)


def test_processes_whose_settings_differ() -> None:
    alike = [running(number, settings={"RECORDS": "a", "PROJECT": "x"}) for number in range(3)]
    silent = running(8)
    assert severities(agreement.settings, alias(), {state.PROCESSES: (*alike, silent)}) == [OK]
    odd = running(9, settings={"RECORDS": "b", "PROJECT": "x"})
    (finding,) = judge(agreement.settings, alias(), {state.PROCESSES: (*alike, odd)})
    assert (finding.severity, finding.seen) == (WARNING, "RECORDS differs: h/9 has another than most of 4")
    newer = running(7, software={"django-etcdaero": "2", "python": "3.14"})
    older = running(6, software={"django-etcdaero": "1", "python": "3.13"})
    assert severities(agreement.settings, alias(), {state.PROCESSES: (newer, older)}) == [INFO]


@pytest.mark.parametrize(("stored", "expected"), [(1_000, OK), (4_000, INFO), (9_000, WARNING)])
def test_rows_against_the_memory_of_the_host(stored: int, expected: Severity) -> None:
    here = replace(running(1, stored_bytes={"prices": stored}), host=socket.gethostname())
    elsewhere = running(2, stored_bytes={"prices": 10**12})
    brought: dict[Any, Any] = {state.PROCESSES: (here, elsewhere), agreement.MEMORY: 200_000}
    assert severities(agreement.memory, alias(), brought) == [expected]


def test_the_memory_of_the_host_is_found() -> None:
    declare().refresh()
    register(1, {"prices": 1}, {})
    assert [each.severity for each in found("processes.memory")] == [OK]


def test_rows_that_all_processes_share_are_not_counted(registry: Any) -> None:
    declare(shared=True)
    here = replace(running(1, stored_bytes={"prices": 10**12}), host=socket.gethostname())
    brought: dict[Any, Any] = {state.PROCESSES: (here,), agreement.MEMORY: 200_000}
    assert severities(agreement.memory, alias(), brought) == [OK]


# --- the directory of shared files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"names": ()}, [OK]),
        ({"free": 10}, [OK]),
        ({"free": 1}, [WARNING]),
        ({"free": 10, "writable": False}, [INFO]),
    ],
)
def test_the_directory_of_shared_files(found: dict[str, Any], expected: list[Severity]) -> None:
    shared = sharing.Shared(**{"names": ("prices",), "directory": "/srv/shared", "largest": 5, **found})
    assert severities(sharing.shared, alias(), {sharing.SHARED: shared}) == expected


def test_the_directory_of_shared_files_is_looked_at(settings: Any, tmp_path: Path) -> None:
    settings.BASE_DIR = tmp_path
    assert [each.severity for each in found("datasets.shared")] == [OK]
    declare(shared=True)
    (finding,) = found("datasets.shared")
    assert (finding.severity, finding.seen.partition(":")[0]) == (OK, f"{tmp_path}/.etcdaero/shared")
    (tmp_path / ".etcdaero").write_text("no directory")
    (finding,) = found("datasets.shared")
    assert finding.severity is ERROR
    assert f"SHARED_DIR: {tmp_path}/.etcdaero/shared: Not a directory" in finding.seen


# --- the admin's pages -----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_permissions_that_the_database_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [each.severity for each in found("project.permissions")] == [Severity.NOT_VISIBLE]
    monkeypatch.setattr(pages, "_is_in_memory", lambda using: False)
    project = Project(place="project")
    assert severities(pages.permissions, project, {pages.PERMISSIONS: pages.PERMISSIONS.ask(project, 5.0)}) == [OK]
    Permission.objects.filter(codename="release_lock").delete()
    brought = {pages.PERMISSIONS: pages.PERMISSIONS.ask(project, 5.0)}
    (finding,) = judge(pages.permissions, project, brought)
    assert (finding.severity, finding.seen) == (WARNING, "the database lacks 1: release_lock")
    assert severities(pages.permissions, project, {pages.PERMISSIONS: OperationalError("no table")}) == [WARNING]


def test_static_files(settings: Settings, tmp_path: Path) -> None:
    assert [each.severity for each in found("project.static")] == [Severity.NOT_VISIBLE]
    settings.STATIC_ROOT = str(tmp_path)
    assert [each.severity for each in found("project.static")] == [WARNING]
    (tmp_path / "django_etcdaero").mkdir()
    (tmp_path / "django_etcdaero" / "admin.css").touch()
    assert [each.severity for each in found("project.static")] == [OK]
    settings.DEBUG = True
    assert [each.severity for each in found("project.static")] == [OK]
    settings.INSTALLED_APPS = ["django_etcdaero"]
    assert [each.severity for each in found("project.static")] == [Severity.NOT_APPLICABLE]


# --- locks -----------------------------------------------------------------------------------------------------------


def test_locks_of_the_project_are_found_among_its_keys() -> None:
    kv.put("items/1234", "looks like a contender, and hangs on no lease")
    with kv.lock("orders/import"), kv.lock("other"):
        (finding,) = found("locks.held")
    assert (finding.severity, finding.seen) == (OK, "2 held: orders/import, other")


def test_locks_are_not_looked_for_among_too_many_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MOST_KEYS", 3)
    for number in range(4):
        kv.put(f"items/{number}", "x")
    (finding,) = found("locks.held")
    assert (finding.severity, finding.seen.partition(" are")[0]) == (Severity.NOT_VISIBLE, "4 keys")


@pytest.mark.parametrize(
    ("since", "waiting", "expected"),
    [(60, 3, OK), (2 * DAY, 0, INFO), (60, 500, WARNING), (None, 0, OK)],
)
def test_locks_that_are_held_for_long(since: float | None, waiting: int, expected: Severity) -> None:
    now = time.time()
    began = None if since is None else datetime.fromtimestamp(now - since, UTC)
    holder = Holder(b"k", 1, 1, host="h", pid=7, since=began)
    queues = state.Queues(found=(Contended(b"n", Kind.LOCK, (holder,) * (1 + waiting)),), at=now)
    assert severities(locks.held, alias(), {state.QUEUES: queues}) == [expected]


@pytest.mark.parametrize(("since", "expected"), [(60, OK), (3 * 3600, WARNING)])
def test_a_refresh_that_takes_longer_than_it_may(since: float, expected: Severity) -> None:
    declare().refresh()
    read = state.DATASETS.ask(alias(), 5)
    holder = Holder(b"k", 1, 1, host="h", pid=7, since=datetime.fromtimestamp(read.at - since, UTC))
    held = replace(read, overviews=tuple(replace(each, holder=holder) for each in read.overviews))
    assert severities(locks.refresh, alias(), {state.DATASETS: held}) == [expected]


# --- settings --------------------------------------------------------------------------------------------------------


def test_what_the_system_checks_say_is_told() -> None:
    with override_settings(ETCDAERO={"default": {"KV": "sqlight:///x", "OPTIONS": {"LOCK_TLL": 3}}}):
        findings = examine().findings
    told = [each for each in findings if each.check == "project.settings"]
    assert [each.severity for each in told] == [ERROR, ERROR]
    assert told[0].seen.startswith("(etcdaero.E002) ")
    assert [each.place for each in findings if each.check.startswith("kv.")] == []


def test_versions_that_are_too_old() -> None:
    good = {"Django": "5.2.1", "aerospike": "19.3.0", "etcd3": "0.12.0", "grpcio": "1.70", "protobuf": "5.1"}
    for installed, expected in ((good, OK), (good | {"grpcio": "1.50"}, WARNING), (good | {"etcd3": ""}, WARNING)):
        brought = {settings_checks.INSTALLED: installed}
        assert expected in severities(settings_checks.versions, alias(), brought)


@pytest.mark.parametrize(("options", "expected"), [({}, [OK]), ({"CALL_TIMEOUT": 15}, [WARNING])])
def test_times_that_do_not_fit_together(options: dict[str, Any], expected: list[Severity]) -> None:
    with override_settings(ETCDAERO={"default": {"KV": "mem:", "RECORDS": "mem:", "OPTIONS": options}}):
        assert severities(keys.timeouts, alias(), {}) == expected


# --- stores ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("brought", "expected"),
    [
        (0.001, OK),
        (0.5, WARNING),
        (ClusterError("no endpoint answers"), ERROR),
        (DeadlineExceeded("late"), ERROR),
        (Unauthenticated("wrong password"), ERROR),
        (PermissionDenied("no"), ERROR),
    ],
)
def test_reading(brought: Any, expected: Severity) -> None:
    store = Records(place="x", aliases=("default",), address=MemoryAddress(), prefix="tests")
    assert severities(keys.read, alias(), {keys.READ: brought}) == [expected]
    assert severities(records.read, store, {records.READ: brought}) == [expected]


@pytest.mark.parametrize(
    ("brought", "expected"),
    [
        (0.001, OK),
        (StoreFull("full"), ERROR),
        (ConfigurationError("nsup-period"), ERROR),
        (PermissionDenied("no"), ERROR),
        (ClusterError("away"), Severity.NO_ANSWER),
    ],
)
def test_writing(brought: Any, expected: Severity) -> None:
    store = Records(place="x", aliases=("default",), address=MemoryAddress(), prefix="tests")
    assert severities(keys.write, alias(), {keys.WRITE: brought}) == [expected]
    assert severities(records.write, store, {records.WRITE: brought}) == [expected]


@pytest.mark.parametrize(("there", "expected"), [(10, OK), (900, WARNING), (1000, ERROR)])
def test_room_for_records_in_etcd(there: int, expected: Severity) -> None:
    store = Records(place="x", aliases=("default",), address=MemoryAddress(), prefix="tests")
    assert severities(records.room, store, {records.FILL: (there, 1000)}) == [expected]


MB = 1 << 20


@pytest.mark.parametrize(
    ("place", "usable", "space"),
    [
        (DatabaseFile(None, 0, 1 << 40), INFO, OK),
        (DatabaseFile(MB, 0, 1 << 40, 0o600), OK, OK),
        (DatabaseFile(MB, 0, 1 << 40, 0o644), WARNING, OK),
        (DatabaseFile(MB, 0, 100 * MB, 0o600), OK, WARNING),
        (DatabaseFile(MB, 0, MB, 0o600), OK, ERROR),
        (DatabaseFile(MB, 900 * MB, 1 << 40, 0o600), OK, WARNING),
        (ConfigurationError("belongs to user id 7"), ERROR, ERROR),
    ],
)
def test_files(place: Any, usable: Severity, space: Severity) -> None:
    file = File(place="x", address=FileAddress(Path("/x")))
    assert severities(files.usable, file, {files.PLACE: place}) == [usable]
    assert severities(files.space, file, {files.PLACE: place}) == [space]


def test_a_file_is_looked_at(tmp_path: Any) -> None:
    address = FileAddress(tmp_path / "kv.sqlite3")
    assert files.PLACE.ask(File(place="x", address=address), 1).bytes is None
    (tmp_path / "kv.sqlite3").write_bytes(b"12345")
    (tmp_path / "kv.sqlite3").chmod(0o644)
    place = files.PLACE.ask(File(place="x", address=address), 1)
    assert (place.bytes, place.mode) == (5, 0o644)
    (tmp_path / "dir").mkdir()
    (finding,) = judge(
        files.usable,
        File(place="x", address=FileAddress(tmp_path / "dir")),
        {files.PLACE: _raised(files.PLACE.ask, File(place="x", address=FileAddress(tmp_path / "dir")))},
    )
    assert finding.severity is ERROR
    assert "is not a regular file" in finding.seen


def _raised(ask: Any, subject: Any) -> Exception:
    try:
        ask(subject, 1.0)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")
