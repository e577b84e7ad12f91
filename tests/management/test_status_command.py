"""``etcdaero_status``: in words and as JSON."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import pytest
from pytest_django import Settings

from django_etcdaero import kv
from django_etcdaero.datasets.state.overdue import OverdueLoad, leave_word
from django_etcdaero.management.describe import moment
from django_etcdaero.runtime import runtime
from tests.management.running import declare, kv_away, register, run

pytestmark = pytest.mark.usefixtures("registry")


def test_the_status_of_nothing() -> None:
    said = "No app declares a dataset (in a module 'datasets' of an app in INSTALLED_APPS).\nprocesses: 0\n"
    assert run("etcdaero_status") == (0, said)


def test_the_status_in_words() -> None:
    prices = declare(refresh_every=timedelta(hours=1))
    code, text = run("etcdaero_status")
    assert code == 0
    assert text.splitlines() == [
        "prices",
        "  nothing published yet; run 'manage.py etcdaero_refresh'",
        "  due now",
        "processes: 0",
    ]
    prices.refresh()
    prices.source["a"] = 2
    prices.refresh(force=True)
    prices.rollback(1)
    prices.errors.append(RuntimeError("down"))
    prices.refresh(force=True)
    register(1, {"prices": 1, "stock": None}, {"prices": "VALID"})
    register(2, {"prices": 2}, {"prices": "VALID"})
    register(3, {"prices": 1}, {"prices": "VALID"}, schema=7)
    lock = kv.lock(prices.layout(runtime.stores("default").prefix).lock)
    lock.acquire()
    code, text = run("etcdaero_status")
    lock.release()
    lines = [line.strip() for line in text.splitlines()]
    assert code == 0
    assert lines[0] == "prices"
    assert lines[1].startswith("version 1: 1 rows, ")
    assert lines[2] == "held by 1 of 2 processes"
    assert lines[3].startswith("source last read ")
    assert lines[4].startswith("next load due ")
    assert lines[5].startswith("being refreshed by ")
    assert lines[6] == "pinned to version 1"
    assert lines[7].startswith("last load failed ")
    assert lines[7].endswith("(1 in a row): RuntimeError: down")
    assert lines[8] == "processes: 3"
    assert any(line.endswith(": prices 1 VALID, stock -") for line in lines)
    assert any(line.endswith(": prices 1 VALID (schema 7)") for line in lines)


def test_a_load_that_is_held_back_is_not_called_due_now() -> None:
    prices = declare()
    prices.errors.append(RuntimeError("down"))
    prices.refresh()
    _, text = run("etcdaero_status")
    until = moment(json.loads(run("etcdaero_status", "--json")[1])["datasets"][0]["held_back_until"])
    assert f"  due, and held back until {until} after a failure\n" in text
    assert "due now" not in text


def test_a_process_that_uses_two_aliases_is_one(settings: Settings) -> None:
    settings.ETCDAERO = {"default": {"PREFIX": "one"}, "other": {"PREFIX": "two"}}
    declare("here").refresh()
    declare("there", using="other").refresh()
    for started in (1, 2):
        register(started, {"here": 1}, {"here": "VALID"})
        register(started, {"there": started}, {"there": "VALID"}, using="other")
    # The name of a dataset that the code before kept under another alias.
    register(3, {"there": 1}, {"there": "VALID"})
    _, text = run("etcdaero_status")
    lines = [line.strip() for line in text.splitlines()]
    assert [line for line in lines if line.startswith("held by")] == [
        "held by 2 of 2 processes",
        "held by 1 of 2 processes",
    ]
    assert lines[-4] == "processes: 3"
    assert [line.partition(": ")[2] for line in lines[-3:]] == [
        "here 1 VALID, there 1 VALID", "here 1 VALID, there 2 VALID", "there 1 VALID"
    ]  # fmt: skip
    document = json.loads(run("etcdaero_status", "--json")[1])
    assert [process["versions"] for process in document["processes"]] == [
        {"here": 1, "there": 1}, {"here": 1, "there": 2}, {"there": 1}
    ]  # fmt: skip
    assert [each["processes"] for each in document["datasets"]] == [
        [{"version": 1, "count": 2}],
        [{"version": 1, "count": 1}, {"version": 2, "count": 1}],
    ]


def test_the_status_as_json() -> None:
    prices = declare(refresh_every=timedelta(hours=1))
    prices.refresh()
    register(1, {"prices": 1}, {"prices": "VALID"})
    register(2, {"prices": None}, {"prices": "INITIALIZING"})
    code, text = run("etcdaero_status", "--json")
    document = json.loads(text)
    assert code == 0
    assert set(document) == {"datasets", "processes", "errors"}
    (one,) = document["datasets"]
    assert (one["name"], one["version"], one["due"], one["pin"], one["failure"], one["refreshing"]) == (
        "prices", 1, False, None, None, None
    )  # fmt: skip
    assert one["current"]["rows"] == 1
    assert one["next_due"] > one["current"]["load_started"]
    assert one["processes"] == [{"version": None, "count": 1}, {"version": 1, "count": 1}]
    assert len(document["processes"]) == 2
    assert document["errors"] == {}


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_store_that_is_away_is_exit_code_1(monkeypatch: pytest.MonkeyPatch, options: list[str]) -> None:
    declare()
    declare("lost", using="nowhere")
    kv_away(monkeypatch)
    code, text = run("etcdaero_status", *options)
    assert code == 1
    assert "ClusterError: no endpoint answers" in text
    assert "no alias 'nowhere'" in text.replace('\\"', '"')
    if options:
        assert set(json.loads(text)["errors"]) == {"prices", "lost", "alias default", "alias nowhere"}


def test_a_load_that_hangs_is_told_with_its_process_and_beginning() -> None:
    prices = declare()
    stores = runtime.stores("default")
    layout = prices.layout(stores.prefix)
    since = time.time() - 700
    load = OverdueLoad(since=since, limit=600.0, host="far", pid=7)
    word = leave_word(stores.kv, layout, load, ttl=10)
    assert word is not None
    _, text = run("etcdaero_status")
    said = f"being loaded by far/7 since {moment(since)}, longer than load_timeout (600 s): given up there"
    assert f"  {said}\n" in text
    (told,) = json.loads(run("etcdaero_status", "--json")[1])["datasets"][0]["overdue"]
    assert told == {"host": "far", "pid": 7, "since": since, "limit": 600.0}
    word.close()
    assert "being loaded" not in run("etcdaero_status")[1]
