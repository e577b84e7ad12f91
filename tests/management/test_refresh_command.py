"""``etcdaero_refresh``: what it loads, prints and returns."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from django_etcdaero import kv
from django_etcdaero.datasets.state.status import RefreshResult
from django_etcdaero.runtime import runtime
from tests.management.running import declare, kv_away, run

pytestmark = pytest.mark.usefixtures("registry")


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


def test_a_load_that_exits_is_a_failure_and_stops_no_other() -> None:
    declare("bad").errors.append(SystemExit(0))
    declare("good")
    code, text = run("etcdaero_refresh")
    assert code == 1
    first, second = text.splitlines()
    assert first == "bad: failed, no version yet: RuntimeError: load() raised SystemExit: 0"
    assert second.startswith("good: refreshed")


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
    with pytest.raises(CommandError, match="--loop does not go with --force, --full, --dry-run or --wait") as caught:
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


@pytest.mark.parametrize("arguments", [["--reload"], ["--loop", "--reload"], ["--loop", "--no-reload"]])
def test_reloading_is_for_a_loop_in_a_process_of_its_own(arguments: list[str]) -> None:
    declare()
    with pytest.raises(CommandError, match="--reload goes with --loop only, in a process of its own") as refused:
        run("etcdaero_refresh", *arguments)
    assert refused.value.returncode == 2
