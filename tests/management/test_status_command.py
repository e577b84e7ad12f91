"""``etcdaero_status``: in words and as JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.core.management.base import CommandError
from pytest_django import Settings

from django_etcdaero import kv
from django_etcdaero.datasets.state import presence
from django_etcdaero.datasets.state.overdue import OverdueLoad, leave_word
from django_etcdaero.exceptions import ClusterError
from django_etcdaero.inspection import cluster_status
from django_etcdaero.keyvalue.interception import interpose
from django_etcdaero.management.describe import moment
from django_etcdaero.runtime import runtime
from django_etcdaero.system import processes as processes_module
from django_etcdaero.system.processes import this_process
from tests.management.running import declare, kv_away, register, run, run_on_terminal, untimed

pytestmark = pytest.mark.usefixtures("registry")


def test_the_status_of_nothing() -> None:
    said = "No app declares a dataset (in a module 'datasets' of an app in INSTALLED_APPS)."
    code, text = run("etcdaero_status")
    assert (code, text.splitlines()) == (
        0,
        [said, "alias default: KV (mem:) answers, RECORDS (mem:) answers", "processes: 0"],
    )


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
    assert document["errors"] == []


def test_a_store_that_is_away_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    declare()
    declare("second")
    declare("lost", using="nowhere")
    kv_away(monkeypatch)
    code, text = run("etcdaero_status")
    assert code == 1
    assert "alias default: KV: ClusterError: no endpoint answers\n" in untimed(text)
    assert text.count("no endpoint answers") == 1
    assert "alias nowhere: SettingsError: ETCDAERO has no alias 'nowhere'" in text
    code, text = run("etcdaero_status", "--json")
    assert code == 1
    away, unknown = json.loads(text)["errors"]
    assert away == {
        "since": None,
        "alias": "default", "store": "KV", "dataset": None, "type": "ClusterError", "message": "no endpoint answers"
    }  # fmt: skip
    assert (unknown["alias"], unknown["store"], unknown["type"]) == ("nowhere", None, "SettingsError")


def test_records_that_are_away_are_told_and_all_else_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    declare().refresh()

    def fail(*args: Any, **arguments: Any) -> Any:
        raise ClusterError("no node answers")

    monkeypatch.setattr(runtime.stores("default").records, "get_many", fail)
    code, text = run("etcdaero_status")
    assert code == 0
    assert "version 1: 1 rows" in text
    assert "alias default: RECORDS: ClusterError: no node answers\n" in untimed(text)


def test_an_alias_that_does_not_answer_costs_the_others_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ETCDAERO = {"default": {"PREFIX": "one"}, "frozen": {"PREFIX": "two"}}
    declare("here").refresh()
    for number in range(20):
        declare(f"there{number}", using="frozen")
    thawed = threading.Event()
    kv = runtime.stores("frozen").kv
    monkeypatch.setattr(kv.engine, "range", lambda *args, **arguments: thawed.wait(60))
    code, text = run("etcdaero_status", "--json", "--timeout", "0.5")
    thawed.set()
    document = json.loads(text)
    assert code == 1
    assert [each["name"] for each in document["datasets"]] == ["here"]
    assert document["errors"] == [
        {
            "alias": "frozen",
            "store": "KV",
            "dataset": None,
            "type": "DeadlineExceeded",
            "message": "no answer within 0.5 s",
            "since": None,
        }
    ]


def test_a_state_that_makes_no_sense_is_told_of_its_dataset_only() -> None:
    declare().refresh()
    odd = declare("odd")
    odd.refresh()
    kv.put(odd.layout(runtime.stores("default").prefix).pin, "no pin")
    code, text = run("etcdaero_status", "--json")
    document = json.loads(text)
    assert code == 1
    assert [each["name"] for each in document["datasets"]] == ["prices"]
    assert [(each["dataset"], each["type"]) for each in document["errors"]] == [("odd", "ResponseError")]


def test_a_hundred_datasets_are_read_in_few_calls() -> None:
    prices = declare("prices0")
    prices.refresh()
    for number in range(1, 100):
        declare(f"prices{number}")
    lock = kv.lock(prices.layout(runtime.stores("default").prefix).lock)
    lock.acquire()
    asked: list[str] = []

    @contextmanager
    def counted(call: str, argument: Any) -> Iterator[None]:
        asked.append(call)
        yield

    end = interpose(runtime.stores("default").kv.engine, counted)
    code, text = run("etcdaero_status", "--json")
    end()
    lock.release()
    document = json.loads(text)
    assert code == 0
    assert len(document["datasets"]) == 100
    assert document["datasets"][0]["refreshing"]["pid"] == os.getpid()
    assert asked.count("range") <= 8
    assert set(asked) <= {"range", "watch"}  # the lock's holder looks after it meanwhile


def test_who_refreshes_is_told_in_the_zone_of_all_times_and_in_json_by_fields(settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    prices = declare()
    prices.refresh()
    lock = kv.lock(prices.layout(runtime.stores("default").prefix).lock)
    lock.acquire()
    holder = lock.holder()
    _, text = run("etcdaero_status")
    document = json.loads(run("etcdaero_status", "--json")[1])
    lock.release()
    assert holder is not None
    assert holder.since is not None
    refreshing = document["datasets"][0]["refreshing"]
    assert refreshing == {"host": holder.host, "pid": os.getpid(), "since": holder.since.timestamp()}
    assert f"being refreshed by {holder.host}/{os.getpid()} since {moment(refreshing['since'])}\n" in text
    times = re.findall(r"\d\d:\d\d:\d\d ?(\w*)", text)
    assert len(times) >= 3
    assert set(times) == {"JST"}


def test_processes_that_are_known_to_have_ended_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    prices = declare()
    prices.refresh()
    with subprocess.Popen(["sleep", "60"]) as process:
        mark = this_process()
        assert mark is not None
        theirs = {**mark, "pid": process.pid, "started": processes_module._state(process.pid)[1]}
        monkeypatch.setattr(presence, "this_process", lambda: theirs)
        register(1, {"prices": 1}, {"prices": "VALID"})
        register(2, {"prices": 1}, {"prices": "VALID"})
        monkeypatch.setattr(presence, "this_process", lambda: {**theirs, "boot": "of another host"})
        register(3, {"prices": 1}, {"prices": "VALID"})
        monkeypatch.setattr(presence, "this_process", lambda: None)
        register(4, {"prices": 1}, {"prices": "VALID"})
        assert "held by 4 of 4 processes" in run("etcdaero_status")[1]
        process.kill()
    _, text = run("etcdaero_status", "--json")
    document = json.loads(text)
    assert [each["started"] for each in document["processes"]] == [3, 4]
    assert document["datasets"][0]["processes"] == [{"version": 1, "count": 2}]
    assert "process" not in document["processes"][0]


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_a_timeout_that_is_none(seconds: str) -> None:
    with pytest.raises(CommandError, match="--timeout must be"):
        run("etcdaero_status", f"--timeout={seconds}")


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


def test_a_terminal_of_80_columns_gets_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    prices = declare("prices-of-all-goods-in-all-countries", refresh_every=timedelta(hours=1))
    prices.refresh()
    prices.pin()
    prices.errors.append(RuntimeError("down " * 40))
    prices.refresh(force=True)
    declare("new")
    register(1, {prices.name: 1, "new": None}, {prices.name: "VALID"})
    code, text = run_on_terminal("etcdaero_status")
    lines = text.splitlines()
    assert code == 0
    assert max(map(len, lines)) <= 80
    assert lines[0].split()[:7] == ["DATASET", "STATE", "VERSION", "HELD", "AGE", "DUE", "IN"]
    assert re.fullmatch(r"new +never published +- +0/1 +- +now +.*", lines[1])
    assert re.fullmatch(r"prices-of-all-goods… +failed since, pinned +1 +1/1 +\S+ m?s +5[34] min.*", lines[2])
    assert lines[3] == "processes: 1 on 1 hosts"
    assert "refreshed by: no service" in text
    for arguments in (("-v", "2"), (prices.name,)):
        code, text = run_on_terminal("etcdaero_status", *arguments)
        assert max(map(len, text.splitlines())) <= 80
        assert "last load failed" in text


def test_only_what_is_named_is_shown_and_an_unknown_name_is_refused() -> None:
    declare("one")
    declare("two")
    _, text = run("etcdaero_status", "two")
    assert text.startswith("two\n")
    assert "one" not in text
    with pytest.raises(CommandError, match="no such dataset: three") as refused:
        run("etcdaero_status", "three")
    assert refused.value.returncode == 2


def test_while_kv_is_away_the_records_tell_what_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    declare().refresh()
    declare("new")
    kv_away(monkeypatch)
    code, text = run("etcdaero_status")
    assert code == 1
    assert re.search(r"prices\n  version 1: 1 rows, .*; as the record store has it\n", text)
    code, text = run_on_terminal("etcdaero_status")
    assert re.search(r"\nprices +not known +1 +- +- +- +1 +\d+ B\n", text)
    document = json.loads(run("etcdaero_status", "--json")[1])
    assert document["announced"]["prices"]["version"] == 1


def test_what_was_read_when_the_time_is_over_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second", "third"):
        declare(name).refresh()
    overview, ended = cluster_status.overview, threading.Event()

    def slow(dataset: Any, *args: Any, **options: Any) -> Any:
        if dataset.name == "second":
            ended.wait(60)
        return overview(dataset, *args, **options)

    monkeypatch.setattr(cluster_status, "overview", slow)
    code, text = run("etcdaero_status", "--timeout", "0.5")
    ended.set()
    assert code == 1
    assert "first\n  version 1" in text
    assert re.search(r"third\n  version 1: .*; as the record store has it", text)
    assert "alias default: KV: DeadlineExceeded: no answer within 0.5 s" in text
