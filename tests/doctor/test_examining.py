"""An examination: whatever hangs or raises is a finding, and all of it ends in time."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from django_etcdaero.doctor import CHECKS, SCHEMA, Finding, Report, Severity, examine, examining, select
from django_etcdaero.doctor.checking import Check, NotVisible, Probe, check, error, info, ok
from django_etcdaero.doctor.subjects import Project, find_subjects
from django_etcdaero.exceptions import (
    ClusterError,
    DeadlineExceeded,
    InvalidRequest,
    NotSupported,
    PermissionDenied,
    StoreBusy,
    Unauthenticated,
)
from tests.management.running import declare, kv_away


def made(name: str, ask: Any, judge: Any = None, *, writes: bool = False) -> Check:
    probe: Probe[Any] = Probe(name, ask, writes=writes)

    def by_default(facts: Any) -> Any:
        yield ok(str(facts[probe]))

    return check(name, "a check", of=Project, needs=(probe,), why="for the test")(judge or by_default)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let these be all the checks that there are."""

    def only(*checks: Check) -> None:
        monkeypatch.setattr(examining, "CHECKS", checks)

    return only


def test_ids_are_unique_and_told_from_their_areas() -> None:
    ids = [each.id for each in CHECKS]
    assert len(set(ids)) == len(ids)
    assert all(each.id.count(".") == 1 and each.title and each.why.endswith(".") for each in CHECKS)
    assert {each.id for each in CHECKS if each.writes} == {"kv.write", "records.write"}


def test_what_a_probe_brings_is_judged(only: Any) -> None:
    only(made("a.one", lambda subject, timeout: 7))
    (finding,) = examine().findings
    assert (finding.check, finding.severity, finding.seen, finding.place) == ("a.one", Severity.OK, "7", "project")


@pytest.mark.parametrize(
    ("raised", "severity"),
    [
        (PermissionDenied("no"), Severity.NOT_PERMITTED),
        (Unauthenticated("no"), Severity.NOT_PERMITTED),
        (ClusterError("no"), Severity.NO_ANSWER),
        (DeadlineExceeded("no"), Severity.NO_ANSWER),
        (StoreBusy("no"), Severity.NO_ANSWER),
        (NotSupported("no"), Severity.NOT_APPLICABLE),
        (NotVisible("no"), Severity.NOT_VISIBLE),
        (ZeroDivisionError("no"), Severity.ERROR),
        (SystemExit("no"), Severity.ERROR),
    ],
)
def test_a_probe_that_raises_is_a_finding(only: Any, raised: BaseException, severity: Severity) -> None:
    def ask(subject: Any, timeout: float) -> Any:
        raise raised

    only(made("a.bad", ask), made("a.good", lambda subject, timeout: 1))
    bad, good = examine().findings
    assert bad.severity is severity
    assert good.severity is Severity.OK


def test_threads_that_cannot_be_started_are_findings(only: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    only(made("a.one", lambda subject, timeout: 1))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    (finding,) = examine().findings
    assert finding.severity is Severity.ERROR
    assert "can't start new thread" in finding.seen


def test_importing_it_loads_no_client_library() -> None:
    code = (
        "import sys, django; from django.conf import settings; settings.configure(); import django_etcdaero.doctor; "
        "print(sorted({'grpc', 'etcd3', 'aerospike'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_a_check_that_raises_is_a_finding(only: Any) -> None:
    def judge(facts: Any) -> Iterator[Any]:
        yield ok("half of it")
        raise ZeroDivisionError("no")

    only(made("a.bad", lambda subject, timeout: 1, judge))
    (finding,) = examine().findings
    assert (finding.severity, finding.seen) == (Severity.ERROR, "the check failed: ZeroDivisionError: no")


def test_all_is_well_only_where_nothing_else_is_said(only: Any) -> None:
    def judge(facts: Any) -> Iterator[Any]:
        yield ok("half of it")
        yield info("the other half")
        yield ok("the rest")

    only(made("a.half", lambda subject, timeout: 1, judge))
    assert [each.seen for each in examine().findings] == ["the other half"]


def test_what_hangs_holds_up_nothing_and_is_told(only: Any) -> None:
    let_go = threading.Event()
    only(
        made("a.hangs", lambda subject, timeout: let_go.wait(60)),
        made("a.good", lambda subject, timeout: 1),
    )
    report = examine(timeout=0.2)
    let_go.set()
    hangs, good = report.findings
    assert (hangs.severity, hangs.seen) == (Severity.NO_ANSWER, "no answer within 0.2 s")
    assert good.severity is Severity.OK
    assert report.gravity == 2
    assert report.problems == (hangs,)


def test_checks_are_chosen_by_id_and_by_the_beginning_of_ids(only: Any) -> None:
    def one(subject: Any, timeout: float) -> int:
        return 1

    only(made("a.one", one), made("a.two", one), made("ab.one", one), made("b.writes", one, writes=True))

    def chosen(**arguments: Any) -> list[str]:
        return [each.id for each in select(**arguments)]

    assert chosen() == ["a.one", "a.two", "ab.one"]
    assert chosen(write_probe=True) == ["a.one", "a.two", "ab.one", "b.writes"]
    assert chosen(only=["a"]) == ["a.one", "a.two"]
    assert chosen(only=["a"], skip=["a.two"]) == ["a.one"]
    assert chosen(only=["a.two", "ab"]) == ["a.two", "ab.one"]
    for wrong in ("c", "a.o", ""):
        with pytest.raises(InvalidRequest, match="areas: a, ab, b"):
            select(only=[wrong])


def test_a_probe_is_asked_once_for_all_checks_that_need_it(only: Any) -> None:
    asked = []
    probe: Probe[int] = Probe("p", lambda subject, timeout: asked.append(subject) or 1)

    def judge(facts: Any) -> Iterator[Any]:
        yield ok(str(facts[probe]))

    only(*(check(f"a.{name}", "x", of=Project, needs=(probe,), why="x")(judge) for name in ("one", "two")))
    assert len(examine().findings) == 2
    assert len(asked) == 1


def test_passwords_are_taken_out_of_whatever_is_told(only: Any, settings: Settings) -> None:
    settings.ETCDAERO = {
        "default": {
            "KV": "etcd://root:hunter2@127.0.0.1:1",
            "RECORDS": "etcd://root:other3@127.0.0.1:1",
            "PREFIX": "p",
        }
    }
    settings.CACHES = {
        "c": {
            "BACKEND": "django_etcdaero.cache.EtcdAeroCache",
            "LOCATION": "aerospike://u:third4@127.0.0.1:1/test/c",
        }
    }

    def ask(subject: Any, timeout: float) -> Any:
        raise RuntimeError("could not use hunter2, other3 and third4")

    only(made("a.bad", ask))
    (finding,) = examine().findings
    assert finding.seen.endswith("could not use ***, *** and ***")


def test_the_report_as_json_has_a_schema() -> None:
    report = examine()
    document = json.loads(json.dumps(report.as_dict()))
    assert set(document) == {"schema", "started", "seconds", "counts", "findings"}
    assert document["schema"] == SCHEMA == 1
    assert set(document["counts"]) == {str(each) for each in Severity}
    assert sum(document["counts"].values()) == len(document["findings"]) == len(report.findings)
    for each in document["findings"]:
        assert set(each) == set(Finding.__dataclass_fields__)
        assert isinstance(each["aliases"], list)


def test_problems_are_told_with_the_gravest_first() -> None:
    def finding(severity: Severity) -> Finding:
        return Finding(check="a.b", title="", place="", aliases=(), severity=severity, seen="", why="", remedy="")

    all_of_them = [finding(each) for each in Severity]
    report = Report(findings=tuple(all_of_them), started=0, seconds=0)
    told = [each.severity for each in report.problems]
    assert told == [Severity.ERROR, Severity.NO_ANSWER, Severity.WARNING]
    assert report.gravity == 2
    assert Report(findings=(), started=0, seconds=0).gravity == 0


def test_stores_in_memory_are_well(registry: Any) -> None:
    declare().refresh()
    report = examine(write_probe=True)
    told = {each.check: each for each in report.findings}
    assert [each for each in report.problems if each.check != "project.settings"] == []
    assert told["kv.read"].severity is told["kv.write"].severity is Severity.OK
    assert told["records.read"].severity is told["records.write"].severity is Severity.OK
    assert told["datasets.published"].seen == "1 of 1 datasets"
    assert told["datasets.whole"].seen == "1 datasets looked at"
    assert {each.area for each in CHECKS} - {each.check.partition(".")[0] for each in report.findings} == {
        *("etcd", "aerospike", "file")
    }


def test_write_probes_leave_nothing_behind(registry: Any) -> None:
    from django_etcdaero import kv
    from django_etcdaero.runtime import runtime

    before = kv.range("", prefix=True).kvs
    examine(only=["kv.write", "records.write"], write_probe=True)
    assert kv.range("", prefix=True).kvs == before
    assert kv.open_engine().lease_list() == ()
    assert list(runtime.stores("default").records.scan()) == []


def test_a_store_that_is_away_is_told(registry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    declare().refresh()
    kv_away(monkeypatch)
    found = {each.check: each.severity for each in examine().findings}
    assert found["kv.read"] is Severity.ERROR
    assert found["datasets.fresh"] is found["locks.held"] is Severity.NO_ANSWER
    assert found["records.read"] is Severity.OK


def test_stores_are_examined_once_whatever_uses_them(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from django_etcdaero.runtime import runtime

    monkeypatch.setattr(runtime._stores, "memory_only", False)
    etcd, aerospike = "etcd://127.0.0.1:1", "aerospike://127.0.0.1:1/test"
    settings.ETCDAERO = {
        "default": {"KV": etcd, "RECORDS": f"{aerospike}/a", "PREFIX": "one"},
        "other": {"KV": etcd, "RECORDS": f"{aerospike}/b", "PREFIX": "two"},
        "files": {"KV": "sqlite:////tmp/k.sqlite3", "RECORDS": "sqlite:////tmp/r.sqlite3", "PREFIX": "three"},
        "mixed": {"KV": "sqlite:////tmp/k.sqlite3", "RECORDS": "etcd://127.0.0.1:2", "PREFIX": "four"},
        "broken": {"KV": "nothing://"},
    }
    settings.CACHES = {
        "default": {"BACKEND": "django_etcdaero.cache.EtcdAeroCache", "LOCATION": f"{aerospike}/c"},
        "alias": {"BACKEND": "django_etcdaero.cache.EtcdAeroCache", "LOCATION": "etcdaero:default"},
        "django": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    }
    found = [(type(each).__name__, each.place, each.aliases) for each in find_subjects()]
    assert [each for each in found if each[0] not in ("Alias", "Project")] == [
        ("EtcdCluster", "etcd://127.0.0.1:1", ("default", "other")),
        ("EtcdCluster", "etcd://127.0.0.1:2", ("mixed",)),
        ("Records", "aerospike://127.0.0.1:1/test/a", ("default",)),
        ("Records", "aerospike://127.0.0.1:1/test/b", ("other",)),
        ("Records", "sqlite:////tmp/r.sqlite3", ("files",)),
        ("Records", "etcd://127.0.0.1:2", ("mixed",)),
        ("Records", "cache default: aerospike://127.0.0.1:1/test/c", ()),
        ("AerospikeNamespace", "aerospike://127.0.0.1:1/test", ("default", "other")),
        ("File", "sqlite:////tmp/k.sqlite3", ("files", "mixed")),
        ("File", "sqlite:////tmp/r.sqlite3", ("files",)),
    ]
    of_one = [type(each).__name__ for each in find_subjects(["files"])]
    assert of_one == ["Project", "Alias", "Records", "File", "File"]


def test_an_error_verdict_needs_something_to_do() -> None:
    assert error("bad", "mend it").remedy == "mend it"
