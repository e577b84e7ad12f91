"""``etcdaero_refresh`` and ``etcdaero_status``: what they print, and how they exit."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from django_etcdaero import dataset, kv
from django_etcdaero.datasets.state.presence import Presence
from django_etcdaero.datasets.state.status import Outcome, RefreshResult
from django_etcdaero.exceptions import Cancelled, ClusterError
from django_etcdaero.management import refresh_service
from django_etcdaero.management.commands import etcdaero_refresh
from django_etcdaero.management.describe import describe_result, moment, size
from django_etcdaero.runtime import runtime
from django_etcdaero.signals import dataset_failed, dataset_published
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("registry")


def declare(name: str = "prices", **options: Any) -> Any:
    rows: dict[str, Any] = {"a": 1}
    errors: list[BaseException] = []

    def load() -> dict[str, Any]:
        if errors:
            raise errors[0]
        return rows

    load.__qualname__ = f"load_{name}"
    made: Any = dataset(name=name, **options)(load)
    made.source, made.errors = rows, errors
    return made


def run(*arguments: str) -> tuple[int, str]:
    """Run a command; return exit code and output."""
    out = io.StringIO()
    try:
        call_command(*arguments, stdout=out, no_color=True)
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue()
    return 0, out.getvalue()


def register(
    started: int, versions: dict[str, int | None], states: dict[str, str], *, schema: int = 1, using: str = "default"
) -> None:
    """Register a process as its reader does; ``started`` tells processes apart."""
    schemas = dict.fromkeys(versions, schema)
    Presence(runtime.stores(using).kv, ttl=30, started=started).publish(versions, states, schemas)


def kv_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the coordination store answer nothing."""

    def fail(*args: Any, **arguments: Any) -> Any:
        raise ClusterError("no endpoint answers")

    monkeypatch.setattr(runtime.stores("default").kv.engine, "range", fail)


# --- etcdaero_refresh ------------------------------------------------------------------------------------------------


def test_all_datasets_are_refreshed_in_order_and_told() -> None:
    declare("stock", refresh_every=timedelta(hours=1))
    declare("prices")
    code, text = run("etcdaero_refresh")
    assert code == 0
    first, second = text.splitlines()
    assert first.startswith("prices: refreshed: version 1, 1 rows, ")
    assert second.startswith("stock: refreshed: version 1, 1 rows, ")
    code, text = run("etcdaero_refresh")
    first, second = text.splitlines()
    assert code == 0
    assert first == "prices: fresh: version 1; loaded only on request (--force loads now)"
    assert second.startswith("stock: fresh: version 1; next load due ")


def test_names_choose_and_keep_their_order() -> None:
    for name in ("a", "b", "c"):
        declare(name)
    _, text = run("etcdaero_refresh", "c", "a", "c")
    assert [line.partition(":")[0] for line in text.splitlines()] == ["c", "a"]


def test_force_loads_what_is_not_due() -> None:
    declare()
    run("etcdaero_refresh")
    code, text = run("etcdaero_refresh", "--force")
    assert (code, text.startswith("prices: unchanged: version 1, 1 rows, ")) == (0, True)


def test_json_is_one_object_a_line_with_all_fields() -> None:
    declare("a")
    declare("b")
    _, text = run("etcdaero_refresh", "--json")
    results = [json.loads(line) for line in text.splitlines()]
    assert [result["name"] for result in results] == ["a", "b"]
    assert set(results[0]) == set(RefreshResult.__dataclass_fields__)
    assert results[0]["outcome"] == "refreshed"


def test_a_failure_is_exit_code_1_and_stops_no_other() -> None:
    declare("bad").errors.append(RuntimeError("down"))
    declare("good")
    code, text = run("etcdaero_refresh")
    assert code == 1
    first, second = text.splitlines()
    assert first == "bad: failed, no version yet: RuntimeError: down"
    assert second.startswith("good: refreshed")
    code, text = run("etcdaero_refresh", "bad")
    assert code == 0
    assert text.startswith("bad: backing off after a failure: RuntimeError: down (on ")


def test_a_dry_run_says_so_and_writes_nothing() -> None:
    prices = declare()
    code, text = run("etcdaero_refresh", "--dry-run")
    assert (code, text.startswith("prices: dry run, nothing written: would write ")) == (0, True)
    assert " as version 1, 1 rows, " in text
    assert prices.history() == []
    prices.refresh()
    prices.source["a"] = 2
    code, text = run("etcdaero_refresh", "--dry-run")
    assert (code, " as version 2, " in text, len(prices.history())) == (0, True, 1)


def test_a_dry_run_fails_where_the_refresh_would(registry: Any) -> None:
    declare(prepare=lambda rows: rows["missing"])
    code, text = run("etcdaero_refresh", "--dry-run")
    assert (code, text) == (
        1,
        "prices: failed, no version yet: ValidationFailed: prepare() raised KeyError: 'missing'\n",
    )


def test_what_cannot_be_known_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    declare().refresh()
    kv_away(monkeypatch)
    code, text = run("etcdaero_refresh")
    assert (code, text) == (1, "prices: failed, version unknown: ClusterError: no endpoint answers\n")
    code, text = run("etcdaero_refresh", "--json")
    result = json.loads(text)
    assert (code, result["version"], result["version_known"]) == (1, None, False)


def test_a_lock_held_elsewhere_is_told_and_no_failure() -> None:
    prices = declare()
    lock = kv.lock(prices.layout(runtime.stores("default").prefix).lock)
    lock.acquire()
    code, text = run("etcdaero_refresh")
    lock.release()
    assert (code, text.startswith("prices: locked by ")) == (0, True)


@pytest.mark.parametrize("arguments", [("price",), ("prices", "price"), ("price", "--loop"), ("price", "--json")])
def test_an_unknown_name_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    prices = declare()
    with pytest.raises(CommandError, match="no such dataset: price; known: prices") as caught:
        run("etcdaero_refresh", *arguments)
    assert caught.value.returncode == 2
    assert prices.history() == []


def test_no_dataset_at_all_is_exit_code_2() -> None:
    with pytest.raises(CommandError, match="no app declares a dataset") as caught:
        run("etcdaero_refresh")
    assert caught.value.returncode == 2


@pytest.mark.parametrize("option", ["--force", "--dry-run", "--wait=5"])
def test_what_does_not_go_with_loop_is_exit_code_2(option: str) -> None:
    declare()
    with pytest.raises(CommandError, match="--loop does not go with --force, --dry-run or --wait") as caught:
        run("etcdaero_refresh", "--loop", option)
    assert caught.value.returncode == 2


@pytest.mark.parametrize("wait", ["-1", "soon", "inf", "nan"])
def test_a_wait_that_is_no_number_of_seconds_is_refused(wait: str) -> None:
    with pytest.raises(CommandError, match="is not a number of seconds"):
        run("etcdaero_refresh", f"--wait={wait}")


def test_options_may_be_given_by_keyword() -> None:
    declare()
    out = io.StringIO()
    call_command("etcdaero_refresh", "prices", force=True, json=True, stdout=out)
    assert json.loads(out.getvalue())["outcome"] == "refreshed"


def test_sigterm_during_a_load_releases_the_lock() -> None:
    prices = declare()
    before = signal.getsignal(signal.SIGTERM)

    def load(self: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    type(prices).load = load
    code, _ = run("etcdaero_refresh")
    assert code == 128 + signal.SIGTERM
    assert kv.lock(prices.layout(runtime.stores("default").prefix).lock).holder() is None
    assert signal.getsignal(signal.SIGTERM) is before


def test_after_sigterm_what_a_load_iterates_over_ends_before_its_database_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []

    def cursor() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            events.append("cursor ended")

    def load(self: Any) -> Any:
        rows = cursor()
        next(rows)
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    type(declare()).load = load
    monkeypatch.setattr(etcdaero_refresh, "close_old_connections", lambda: events.append("connection closed"))
    code, _ = run("etcdaero_refresh")
    assert (code, events) == (128 + signal.SIGTERM, ["connection closed", "cursor ended", "connection closed"])


def fail_to_watch(monkeypatch: pytest.MonkeyPatch, prices: Any, end: Callable[[], None]) -> None:
    """Let SIGTERM come right before the service watches for requests."""

    def stores(alias: str) -> Any:
        end()
        raise Cancelled("the client is closed")

    monkeypatch.setattr(runtime, "stores", stores)


def begin_late(monkeypatch: pytest.MonkeyPatch, prices: Any, end: Callable[[], None]) -> None:
    """Let SIGTERM come right before a refresh begins."""
    monkeypatch.setattr(refresh_service, "close_old_connections", end)


def load_in_vain(monkeypatch: pytest.MonkeyPatch, prices: Any, end: Callable[[], None]) -> None:
    """Let SIGTERM come during a load that fails of it."""

    def load(self: Any) -> Any:
        end()
        raise OSError("cut off")

    monkeypatch.setattr(type(prices), "load", load)


@pytest.mark.parametrize("interrupt", [fail_to_watch, begin_late, load_in_vain])
def test_what_sigterm_interrupts_in_the_service_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, interrupt: Any
) -> None:
    prices = declare()
    client = runtime.stores("default").kv
    failures: list[Any] = []
    loads: list[int] = []
    threads: list[threading.Thread] = []

    def end() -> None:
        if not threads:
            threads.append(threading.current_thread())
            os.kill(os.getpid(), signal.SIGTERM)
            wait_until(lambda: client.closed, what="the end of the service")

    def failed(**kwargs: Any) -> None:
        failures.append(kwargs)

    monkeypatch.setattr(type(prices), "load", lambda self: loads.append(1) or {"a": 1})
    interrupt(monkeypatch, prices, end)
    dataset_failed.connect(failed)
    try:
        assert run("etcdaero_refresh", "--loop") == (0, "")
        threads[0].join(20)
    finally:
        dataset_failed.disconnect(failed)
    assert not threads[0].is_alive()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert (failures, loads) == ([], [])


@pytest.mark.parametrize("command", ["etcdaero_refresh", "etcdaero_status"])
def test_a_store_in_the_memory_of_the_command_is_warned_of(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    declare()
    settings.ETCDAERO = {"default": {"KV": "mem:test-commands"}}
    out, errors = io.StringIO(), io.StringIO()
    call_command(command, "--json", stdout=out, stderr=errors, no_color=True)
    assert errors.getvalue() == ""  # a test run: memory is what it uses
    monkeypatch.setattr(type(runtime), "memory_only", False)
    call_command(command, "--json", stdout=out, stderr=errors, no_color=True)
    said = 'ETCDAERO["default"]["KV"] is mem:test-commands, a store inside each process: what one process refreshes'
    assert errors.getvalue().startswith(said)
    assert '"RECORDS"' not in errors.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "options", "shown"),
    [(Terminal(), [], True), (Terminal(), ["--json"], False), (io.StringIO(), [], False)],
    ids=["on a terminal", "with --json", "in a pipe"],
)
def test_a_bar_shows_the_phases_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, options: list[str], shown: bool
) -> None:
    declare().source.update({number: number for number in range(5000)})
    monkeypatch.setattr(sys, "stderr", stream)
    run("etcdaero_refresh", *options)
    text = stream.getvalue()
    assert ("prices: encode" in text, "prices: write" in text) == (shown, shown)
    assert bool(text) is shown


def test_the_bar_is_there_while_the_source_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, seen = Terminal(), []
    prices = declare()
    type(prices).load = lambda self: seen.append(stream.getvalue()) or {"a": 1}
    monkeypatch.setattr(sys, "stderr", stream)
    run("etcdaero_refresh")
    assert "prices: load: 0 rows since " in seen[0]


def test_no_bar_stands_beside_what_is_logged_when_a_version_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, seen = Terminal(), []
    declare()
    monkeypatch.setattr(sys, "stderr", stream)

    def published(**kwargs: Any) -> None:
        seen.append(stream.getvalue())

    dataset_published.connect(published)
    try:
        run("etcdaero_refresh")
    finally:
        dataset_published.disconnect(published)
    assert "prices: write" in seen[0]
    assert seen[0].endswith("\r")
    assert seen[0].rstrip("\r").rpartition("\r")[2].strip() == ""


# --- words -----------------------------------------------------------------------------------------------------------


def test_sizes() -> None:
    assert [size(count) for count in (0, 999, 1000, 1_500_000, 10**9, 5 * 10**12)] == [
        "0 B", "999 B", "1.0 kB", "1.5 MB", "1.0 GB", "5000.0 GB"
    ]  # fmt: skip


def test_moments_are_in_the_current_time_zone(settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    assert moment(0.0) == "1970-01-01 09:00:00"


@pytest.mark.parametrize(
    ("zone", "words"), [("UTC", "23:30:00"), ("Asia/Tokyo", "2001-09-10 08:30:00"), ("America/Lima", "18:30:00")]
)
def test_moments_of_today_need_no_date(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, zone: str, words: str
) -> None:
    settings.TIME_ZONE = zone
    today = datetime(2001, 9, 9, 12, 0, tzinfo=UTC)
    monkeypatch.setattr(timezone, "now", lambda: today)
    assert moment(today.timestamp() + 11.5 * 3600) == words


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (
            RefreshResult(
                name="p", outcome=Outcome.REFRESHED, version=7, rows=1234, bytes_written=10, bytes_total=2000
            ),
            "p: refreshed: version 7, 1,234 rows, 10 B written of 2.0 kB, 0.00 s",
        ),
        (
            RefreshResult(name="p", outcome=Outcome.REFRESHED, version=7, pinned=True, seconds=1.239),
            "p: refreshed: version 7, 0 rows, 0 B written of 0 B, 1.24 s [pinned: readers are held on their version]",
        ),
        (
            RefreshResult(name="p", outcome=Outcome.UNCHANGED, version=7, dry_run=True),
            "p: dry run, nothing written: unchanged: version 7, 0 rows, 0.00 s",
        ),
        (
            RefreshResult(
                name="p",
                outcome=Outcome.REFRESHED,
                version=8,
                rows=1234,
                bytes_written=10,
                bytes_total=2000,
                dry_run=True,
            ),
            "p: dry run, nothing written: would write 10 B of 2.0 kB as version 8, 1,234 rows, 0.00 s",
        ),
        (
            RefreshResult(name="p", outcome=Outcome.UNCHANGED, version=7, rows=2, next_due=0.0),
            "p: unchanged: version 7, 2 rows, 0.00 s; next load due 1970-01-01 00:00:00",
        ),
        (RefreshResult(name="p", outcome=Outcome.LOCKED, holder="h/1 since now"), "p: locked by h/1 since now"),
        (
            RefreshResult(name="p", outcome=Outcome.FENCED, error="overtaken"),
            "p: fenced, nothing of this load is visible: overtaken",
        ),
        (RefreshResult(name="p", outcome=Outcome.FAILED, version=7, error="X"), "p: failed, version 7 stays: X"),
        (RefreshResult(name="p", outcome=Outcome.FAILED, error="X"), "p: failed, no version yet: X"),
        (
            RefreshResult(name="p", outcome=Outcome.FAILED, version_known=False, error="X"),
            "p: failed, version unknown: X",
        ),
        (
            RefreshResult(name="p", outcome=Outcome.BACKOFF, error="X", next_due=0.0),
            "p: backing off after a failure: X; next load due 1970-01-01 00:00:00 (--force loads now)",
        ),
    ],
)
def test_results_in_words(result: RefreshResult, words: str) -> None:
    assert describe_result(result) == words


# --- etcdaero_status -------------------------------------------------------------------------------------------------


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
