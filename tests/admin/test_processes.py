"""The page of processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client, override_settings

from django_etcdaero import kvs
from django_etcdaero.datasets.state.presence import Presence, processes
from django_etcdaero.datasets.stores import About
from django_etcdaero.exceptions import DeadlineExceeded
from django_etcdaero.testing import failing_kv
from tests.waiting import wait_until

LIST = "/admin/django_etcdaero/process/"


def another(started: float, settings: dict[str, str], version: int = 1) -> None:
    about = About(program="celery -A <shop>", kind="worker", software={"django": "5.2"}, settings=settings)
    Presence(kvs["default"], ttl=30, started=started, about=about).publish(
        {"cities": 1},
        revision=0,
        otherwise={"cities": (version, "VALID" if version == 1 else "INTERRUPTED")},
        stuck={} if version == 1 else {"cities": ("prepare() of version 1", 5.0)},
    )


def test_the_list_says_who_is_on_which_version_and_what_differs(cities: Any, staff: Callable[..., Client]) -> None:
    usual = processes(kvs["default"])[0].settings
    another(1.0, usual)
    another(2.0, {**usual, "RECORDS": "0000"}, version=9)
    listed = staff("view_process").get(LIST).content.decode()
    assert "2 of 3 on version 1" in listed
    assert "celery -A &lt;shop&gt;" in listed
    assert "differ: default: RECORDS" in listed
    assert "INTERRUPTED" in listed
    assert listed.count("not known") == 4, "rows and bytes of the two of which no announcement tells"
    (behind,) = [each for each in processes(kvs["default"]) if each.started == 2.0]
    page = staff("view_process").get(f"{LIST}{behind.host}_2F{behind.pid}_2F2.000/change/").content.decode()
    assert "prepare() of version 1" in page
    assert "differ from those of the other processes" in page
    assert "/dataset/" not in page


def test_versions_are_written_as_commands_take_them(cities: Any, root: Client) -> None:
    another(2.0, {}, version=1234)
    with override_settings(USE_THOUSAND_SEPARATOR=True):
        listed = root.get(LIST).content.decode()
    assert "</a> (1234)" in listed
    assert "1,234" not in listed


def test_datasets_and_processes_lead_to_each_other(cities: Any, staff: Callable[..., Client]) -> None:
    another(2.0, {}, version=9)
    (behind,) = [each for each in processes(kvs["default"]) if each.started == 2.0]
    page = f"{LIST}{behind.host}_2F{behind.pid}_2F2.000/change/"
    dataset = "/admin/django_etcdaero/dataset/cities/change/"
    assert f'href="{dataset}"' in staff("view_process", "view_dataset").get(page).content.decode()
    told = staff("view_process", "view_dataset").get(dataset).content.decode()
    assert f'href="{LIST}"' in told
    assert f'href="{page}"' in told
    assert LIST not in staff("view_dataset").get(dataset).content.decode()


def test_a_process_of_this_project_tells_what_it_is(cities: Any, root: Client) -> None:
    (own,) = processes(kvs["default"])
    assert own.kind == "tests"
    assert own.settings.keys() == {"RECORDS", "PROJECT", "OPTIONS"}
    wait_until(lambda: processes(kvs["default"])[0].rows == {"cities": 2}, what="the rows")
    page = root.get(f"{LIST}{own.host}_2F{own.pid}_2F{own.started:.3f}/change/").content.decode()
    for told in ("as those of the other processes", own.software["python"], "cities"):
        assert told in page


@pytest.mark.parametrize("path", ["", "x_2F1_2F1.000/change/"])
def test_the_pages_are_whole_when_the_store_is_down(cities: Any, root: Client, path: str) -> None:
    with failing_kv(DeadlineExceeded("range: the server is away")):
        answer = root.get(f"{LIST}{path}")
    assert answer.status_code == (503 if path else 200)
    assert "the server is away" in answer.content.decode()
