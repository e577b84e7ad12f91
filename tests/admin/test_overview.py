"""The overview: servers, processes, datasets, what the doctor finds; whole whatever is down."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from pytest_django import Settings

from django_etcdaero.admin import overview
from django_etcdaero.doctor import CHECKS
from django_etcdaero.doctor.examining import select
from django_etcdaero.inspection.servers import ask_servers
from django_etcdaero.models import Overview
from django_etcdaero.runtime import runtime
from tests.keyvalue.etcd.servers import Server
from tests.records.aerospike.standin import Standin
from tests.waiting import wait_until

from .test_datasets import alone as alone  # a fixture
from .test_datasets import declared, text_of

PAGE = "/admin/django_etcdaero/overview/"


@pytest.fixture
def real_stores(settings: Settings) -> Iterator[Callable[..., None]]:
    """Use real stores: ``real_stores(KV=…, RECORDS=…)``."""

    def use(**stores: str) -> None:
        settings.ETCDAERO = {"default": {"KV": "mem:", "RECORDS": "mem:", "PREFIX": "overview", **stores}}
        runtime.memory_only = False

    yield use
    runtime.memory_only = True


def test_the_overview_tells_how_all_is(cities: Any, root: Client) -> None:
    page = text_of(root, PAGE)
    assert re.search(r"Datasets 1 ● valid .* cities ● valid 1 1/1", page)
    assert "1 process reads, hosts: 1" in page
    assert "VALID 1 dataset in a process" in page
    assert "no service that is running now" in page
    assert re.search(r"KV store embedded mem: alias default ● answers History: revisions 1 to \d+ can be read", page)
    assert "Record store memory mem: alias default ● answers" in page


def test_those_to_look_at_come_first(alone: dict[str, Any], root: Client) -> None:
    for number in range(20):
        assert declared({"a": 1}, f"good{number}").refresh().ok
    declared({}, "never")
    page = text_of(root, PAGE)
    assert re.search(r"1 ■ never published 20 ● valid .* never ■ never published \S 0/0 good0", page)
    assert "and 9 more" in page


def test_links_are_for_those_who_may_follow_them(cities: Any, staff: Callable[..., Client]) -> None:
    page = staff("view_overview").get(PAGE).content.decode()
    assert "/admin/django_etcdaero/dataset/" not in page
    page = staff("view_overview", "view_dataset").get(PAGE).content.decode()
    assert "/admin/django_etcdaero/dataset/cities/change/" in page
    assert staff().get(PAGE).status_code == 403


def test_it_is_a_page_and_no_list(cities: Any, root: Client) -> None:
    assert [each.name for each in admin.site.get_model_admin(Overview).get_urls()] == [
        "django_etcdaero_overview_changelist"
    ]


def test_what_the_doctor_finds_is_told(cities: Any, root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = SimpleNamespace(
        check="etcd.quota",
        place="etcd://<b>",
        severity="error",
        seen="95 % are used",
        why="It matters.",
        remedy="etcdctl defrag",
    )
    finding.severity = type("Severity", (str,), {"gravity": 2})("error")
    monkeypatch.setattr("django_etcdaero.doctor.examine", lambda *, skip, timeout: SimpleNamespace(problems=(finding,)))
    page = text_of(root, PAGE)
    assert re.search(r"■ error etcd.quota etcd://&lt;b&gt; 95 % are used It matters. etcdctl defrag", page)
    finding.severity = type("Severity", (str,), {"gravity": 2})("no answer")
    silent = (finding, SimpleNamespace(**{**vars(finding), "check": "etcd.alarms", "why": "Other."}))
    monkeypatch.setattr("django_etcdaero.doctor.examine", lambda *, skip, timeout: SimpleNamespace(problems=silent))
    page = text_of(root, PAGE)
    assert "■ no answer etcd.quota , etcd.alarms etcd://&lt;b&gt; 95 % are used etcdctl defrag" in page
    assert page.count("95 % are used") == 1, "one silence is one line, whoever asked"
    monkeypatch.setattr("django_etcdaero.doctor.examine", lambda *, skip, timeout: SimpleNamespace(problems=()))
    assert "Nothing is wrong." in text_of(root, PAGE)


@pytest.mark.servers
def test_aerospike_tells_its_nodes(real_stores: Callable[..., None], root: Client) -> None:
    with Standin() as standin:
        standin.namespace.figures = {"stop_writes": "true", "data_used_pct": "91"}
        real_stores(RECORDS=f"aerospike://{standin.host}:{standin.port}/{standin.namespace.name}/records")
        (found,) = [each for each in ask_servers(timeout=10.0) if each.plane == "RECORDS"]
        assert (found.kind, found.problems) == ("aerospike", [])
        assert [(each.stops_writes, each.space.part) for each in found.members] == [(True, 0.91)]
        assert re.search(r"■ takes no writes .* \(91 %\)", text_of(root, PAGE))


def test_etcd_tells_its_members(shared_server: Server, real_stores: Callable[..., None]) -> None:
    real_stores(KV=f"etcd://{shared_server.endpoint}", RECORDS=f"etcd://{shared_server.endpoint}")
    kv, records = ask_servers(timeout=10.0)
    assert (kv.kind, kv.has_leader, kv.alarms, kv.problems) == ("etcd", True, [], [])
    assert [each.name for each in kv.members] == [shared_server.endpoint]
    assert kv.members[0].space.used
    assert kv.reach is not None
    assert records.records is not None


@pytest.mark.slow
def test_each_page_is_whole_when_etcd_is_frozen(
    server: Server,
    real_stores: Callable[..., None],
    registry: dict[str, Any],
    root: Client,
) -> None:
    real_stores(KV=f"etcd://{server.endpoint}")
    made = declared({"a": {"name": "Pot"}})
    assert made.refresh().ok
    server.signal(signal.SIGSTOP)
    try:
        base = "/admin/django_etcdaero/dataset/"
        for address in (PAGE, base, *(f"{base}goods/{name}/" for name in ("change", "diff", "rows", "refreshing"))):
            answer = root.get(address)
            assert answer.status_code == 200, address
            assert "Not everything could be read" in answer.content.decode(), address
    finally:
        server.signal(signal.SIGCONT)
    wait_until(lambda: "● valid" in text_of(root, base), what="the list of a server that answers again")


def test_the_page_leaves_what_reads_much_to_the_command() -> None:
    known = {each.id for each in CHECKS}
    assert set(overview.THOROUGH) <= known, "a check was renamed: the page would refuse to examine anything"
    assert select(skip=overview.THOROUGH)


def test_what_was_not_found_out_in_time_is_not_told_as_nothing(
    cities: Any, root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("no thread could be started")

    monkeypatch.setattr(overview, "ask", fail)
    monkeypatch.setattr("django_etcdaero.doctor.examine", fail)
    text = text_of(root, PAGE)
    assert "No app declares a dataset" not in text
    assert "Nothing is wrong" not in text
    assert "not known: the checks took longer than the time of a page" in text


COLD = """
import sys
from django.conf import settings
settings.configure(
    SECRET_KEY="only for tests",
    INSTALLED_APPS=[
        *(f"django.contrib.{name}" for name in ("admin", "auth", "contenttypes", "messages", "sessions")),
        "django_etcdaero",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    MIDDLEWARE=["django.contrib.messages.middleware.MessageMiddleware"],
    MESSAGE_STORAGE="django.contrib.messages.storage.cookie.CookieStorage",
    ROOT_URLCONF="tests.urls",
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    ETCDAERO={
        "default": {
            "KV": "etcd://127.0.0.1:1",
            "RECORDS": "aerospike://127.0.0.1:1/test/records",
            "PREFIX": "cold",
            "OPTIONS": {"START": "off"},
        }
    },
)
import django
django.setup()
from unittest.mock import patch
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser
from django.test import RequestFactory
from django_etcdaero.admin import overview
from django_etcdaero.models import Overview

imported = []
def together(questions, *, timeout, ask=overview.together):
    before = set(sys.modules)
    answers = ask(questions, timeout=timeout)
    ours = ("aerospike", "django", "etcd3", "google", "grpc")
    imported.extend(each for each in set(sys.modules) - before if each.startswith(ours))
    return answers

request = RequestFactory().get("/")
request.user = AnonymousUser()
everybody = patch.multiple(AnonymousUser, has_perm=lambda *_: True, has_module_perms=lambda *_: True)
with patch.object(overview, "together", together), everybody:
    answer = admin.site.get_model_admin(Overview).changelist_view(request)
assert answer.context_data["doctor"].problems
print(sorted(imported))
"""


def test_the_first_page_of_a_process_imports_nothing_in_the_time_for_the_stores() -> None:
    ended = subprocess.run([sys.executable, "-c", COLD], capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (0, "[]\n"), ended.stderr
