"""``etcdaero_processes``."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.state.presence import Presence
from django_etcdaero.datasets.stores import About
from django_etcdaero.runtime import runtime

from .running import declare, kv_away, register, run, run_on_terminal


@pytest.fixture(autouse=True)
def _empty(registry: dict[str, Dataset[Any, Any]], closing: None) -> Iterator[None]:
    runtime.forget_memory()
    yield
    runtime.forget_memory()


def test_processes_and_who_is_behind_are_told() -> None:
    declare().refresh()
    register(1, {"prices": 1}, {"prices": "VALID"})
    register(2, {"prices": None}, {"prices": "INITIALIZING"})
    about = About(program="gunicorn shop", kind="server", software={"python": "3.11", "django": "5.2"})
    with runtime.stores("default").kv.mirror("config/"):
        Presence(runtime.stores("default").kv, ttl=30, started=3, about=about).publish(
            {"prices": 1}, revision=0, otherwise={"prices": (1, "VALID")}, stuck={"prices": ("prepare()", 5.0)}
        )
    out, told = io.StringIO(), io.StringIO()
    call_command("etcdaero_processes", stdout=out, stderr=told, no_color=True)
    assert "prices: 2 of 3 on version 1; not: " in told.getvalue()
    assert "(none yet)" in told.getvalue()
    rows = [line.split("\t") for line in out.getvalue().splitlines()]
    assert [[row[1], *row[6:]] for row in rows] == [["", "", "", "", "0"]] * 2 + [
        ["gunicorn shop", "server", "3.11", "5.2", "1"]
    ]
    assert rows[1][5] == "1 INITIALIZING"
    assert [row[3] for row in rows] == ["?", "0", "?"]
    assert rows[2][5].startswith("prices: prepare() since ")
    code, text = run("etcdaero_processes", "--json")
    document = json.loads(text)
    assert code == 0
    assert document["datasets"][0]["holding"] == 2
    assert document["processes"][2]["stuck"] == {"prices": {"what": "prepare()", "since": 5.0}}
    assert document["processes"][2]["settings_that_differ"] == []
    (watch,) = document["processes"][2]["watches"]
    assert (watch["keys"], watch["use"], watch["name"], watch["own"]) == ("config/*", "mirror", "", False)
    assert document["errors"] == []


def test_a_narrow_terminal_shows_what_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    declare().refresh()
    about = About(program="gunicorn --config gunicorn.conf.py shop.wsgi", kind="server")
    presence = Presence(runtime.stores("default").kv, ttl=30, started=3, about=about)
    presence.publish({"prices": 1}, revision=0, otherwise={"prices": (1, "INTERRUPTED")})
    monkeypatch.setenv("COLUMNS", "80")
    lines = run_on_terminal("etcdaero_processes")[1].splitlines()
    assert max(map(len, lines)) <= 80
    assert "NOT WELL" in lines[0]
    assert "gunicorn" in lines[1]
    assert "1 INTERRUPTED" in lines[1]


def test_a_dataset_without_a_version_is_told() -> None:
    register(1, {"prices": None}, {}, schema=2)
    told = io.StringIO()
    call_command("etcdaero_processes", stdout=io.StringIO(), stderr=told, no_color=True)
    assert told.getvalue() == "prices (schema 2): no version is announced; 1 read it\n"


def test_wrong_arguments_and_stores_that_are_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError) as failed:
        run("etcdaero_processes", "--using", "nowhere")
    assert failed.value.returncode == 2
    kv_away(monkeypatch)
    code, text = run("etcdaero_processes", "--json")
    assert (code, json.loads(text)["errors"][0]["type"]) == (1, "ClusterError")
