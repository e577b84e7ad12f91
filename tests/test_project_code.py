"""Code of the project finds nothing of what ran in its thread before, and leaves no database connection."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction
from django.utils import timezone, translation

from django_etcdaero.project_code import run_project_code
from tests.datasets.hosting import in_thread

variable: ContextVar[str] = ContextVar("variable")


@pytest.fixture
def file_database(tmp_path: Path, databases_allowed: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """The alias of a database in a file, whose connections can be closed."""
    settings = {**connections.settings["default"], "NAME": tmp_path / "database"}
    monkeypatch.setitem(connections.settings, "in_a_file", settings)
    return "in_a_file"


def in_new_thread(function: Callable[[], Any]) -> Any:
    thread, answers = in_thread(function)
    thread.join(20)
    if isinstance(answers[0], Exception):
        raise answers[0]
    return answers[0]


def test_it_runs_in_the_language_the_time_zone_and_the_context_of_a_new_process() -> None:
    def look() -> tuple[str, str, str]:
        return translation.get_language(), timezone.get_current_timezone_name(), variable.get("not set")

    expected = in_new_thread(look)
    variable.set("set")
    with translation.override("fr"), timezone.override("Asia/Tokyo"):
        assert look() != expected
        assert run_project_code(look) == expected


def test_what_it_leaves_activated_does_not_reach_the_next() -> None:
    def leave() -> None:
        translation.activate("fr")
        timezone.activate("Asia/Tokyo")

    before = translation.get_language(), timezone.get_current_timezone_name()
    run_project_code(leave)
    assert (translation.get_language(), timezone.get_current_timezone_name()) == before


@pytest.mark.parametrize("error", [None, RuntimeError("down"), SystemExit(1)])
def test_its_database_connections_are_closed_whatever_comes_of_it(
    file_database: str, error: BaseException | None
) -> None:
    def query() -> None:
        connections[file_database].cursor().execute("SELECT 1")
        if error is not None:
            raise error

    def run() -> bool:
        with nullcontext() if error is None else pytest.raises(type(error)):
            run_project_code(query)
        return connections[file_database].connection is None

    assert in_new_thread(run) is True


def test_a_connection_in_a_transaction_stays_open(file_database: str) -> None:
    def run() -> bool:
        try:
            with transaction.atomic(using=file_database):
                run_project_code(lambda: connections[file_database].cursor().execute("SELECT 1"))
                return connections[file_database].connection is not None
        finally:
            connections[file_database].close()

    assert in_new_thread(run) is True


def test_a_connection_that_is_too_old_is_closed_before(file_database: str) -> None:
    def run() -> bool:
        connection = connections[file_database]
        connection.cursor().execute("SELECT 1")
        connection.close_at = 0
        return run_project_code(lambda: connection.connection is None)

    assert in_new_thread(run) is True


def test_connections_of_another_thread_are_left_alone(file_database: str) -> None:
    """They are found where gevent has patched ``threading.local`` after Django was imported."""
    connections[file_database] = in_new_thread(lambda: connections.create_connection(file_database))
    try:
        assert run_project_code(lambda: "done") == "done"
    finally:
        del connections[file_database]
