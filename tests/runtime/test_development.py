"""Which process of ``runserver`` refreshes the datasets, and what it says."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from django_etcdaero import development
from django_etcdaero.exceptions import ClusterError
from django_etcdaero.management import changed_code
from django_etcdaero.runtime import runtime
from django_etcdaero.testing import failing_kv, real_stores
from tests.runtime.hooking import declare
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("registry", "closing")

SERVING = ["manage.py", "runserver"]


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What is to be called at the end of the process; called at the end of the test."""
    registered: list[Any] = []
    monkeypatch.setattr(development.atexit, "register", registered.append)
    yield registered
    for each in registered:
        each()


def settings(option: str = "auto", *, debug: bool = True) -> Any:
    stores = {"KV": "mem:runserver", "RECORDS": "mem:runserver", "OPTIONS": {"REFRESH_IN_RUNSERVER": option}}
    return override_settings(DEBUG=debug, ETCDAERO={"default": stores})


def run_as(monkeypatch: pytest.MonkeyPatch, argv: list[str], *, child: bool = True) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setenv("RUN_MAIN", "true") if child else monkeypatch.delenv("RUN_MAIN", raising=False)
    development.refresh_in_runserver()


def test_the_child_of_runserver_publishes_what_is_due_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ends: list[Any]
) -> None:
    prices = declare(first_read_timeout=20)
    with real_stores(), settings():
        run_as(monkeypatch, SERVING)
        assert prices["a"] == 1
        told: list[str] = []

        def published() -> bool:
            told.extend(capsys.readouterr().out.splitlines())
            return len(told) > 1

        wait_until(published, what="a line for the new version")
        assert told[0].startswith("Datasets are refreshed by this server")
        assert told[1].startswith("prices: refreshed: version 1")
        ends.pop()()
        assert prices.refresh(force=True).ok  # the service has given the lock back


@pytest.mark.parametrize("changed", [True, False])
def test_a_dataset_is_loaded_anew_when_the_file_that_declares_it_has_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: bool
) -> None:
    prices = declare()  # loaded once, then only on request
    assert prices.refresh().ok
    assert prices.refresh().outcome == "fresh"
    file = tmp_path / "datasets.py"
    file.touch()
    os.utime(file, (2**33, 2**33) if changed else (0, 0))
    monkeypatch.setattr(sys.modules[type(prices).__module__], "__file__", str(file))
    changed_code.request_by_changed_code([prices], runtime)
    assert prices.refresh().outcome == ("unchanged" if changed else "fresh")


def test_nothing_is_asked_for_what_was_never_loaded_and_where_no_store_answers() -> None:
    prices = declare()
    changed_code.request_by_changed_code([prices], runtime)
    assert prices.history() == []
    assert runtime.stores("default").kv.range("", prefix=True).count == 0
    with failing_kv(ClusterError("away")):
        changed_code.request_by_changed_code([prices], runtime)


@pytest.mark.parametrize(
    ("argv", "child", "option", "debug"),
    [
        (SERVING, False, "auto", True),  # the autoreloader
        (SERVING, True, "off", True),
        (SERVING, True, "auto", False),
        (["manage.py", "shell"], True, "auto", True),
        (["/bin/uvicorn", "mysite.asgi"], True, "auto", True),
        (["/bin/gunicorn", "mysite.wsgi"], True, "auto", True),
    ],
)
def test_no_other_process_does(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ends: list[Any],
    argv: list[str],
    child: bool,
    option: str,
    debug: bool,
) -> None:
    declare()
    with real_stores(), settings(option, debug=debug):
        run_as(monkeypatch, argv, child=child)
    assert (capsys.readouterr().out, ends) == ("", [])


def test_nor_does_a_test_run(monkeypatch: pytest.MonkeyPatch, ends: list[Any]) -> None:
    declare()
    with settings():
        run_as(monkeypatch, SERVING)
    assert ends == []


def test_nor_a_project_without_datasets(monkeypatch: pytest.MonkeyPatch, ends: list[Any]) -> None:
    with real_stores(), settings():
        run_as(monkeypatch, SERVING)
    assert ends == []


def test_a_wrong_setting_is_left_to_the_checks(monkeypatch: pytest.MonkeyPatch, ends: list[Any]) -> None:
    declare()
    with real_stores(), settings("on"):
        run_as(monkeypatch, SERVING)
    assert ends == []
    assert runtime.reader_refusal() is not None
