"""``etcdaero_doctor``: in words and as JSON, and how it ends."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.core.management.base import CommandError
from pytest_django import Settings

from django_etcdaero.doctor import Severity, examining
from django_etcdaero.management.ending import INTERRUPTED
from django_etcdaero.runtime import runtime
from tests.management.running import declare, kv_away, run

pytestmark = pytest.mark.usefixtures("registry")


def test_places_in_a_line_each_and_what_is_wrong_with_its_reason_and_its_remedy() -> None:
    declare("prices")
    code, text = run("etcdaero_doctor")
    assert code == 1
    assert "\nalias default: 1 error, " in text
    assert (
        "  [error] datasets.published: nothing was published of prices\n"
        "      Reading a dataset that was never published raises DatasetNotReady.\n"
        "      -> python manage.py etcdaero_refresh prices\n"
    ) in text
    assert "[ok]" not in text
    assert "[not applicable]" not in text
    assert " in 0." in text.splitlines()[-1]


def test_nothing_wrong_is_exit_code_0_and_warnings_are_if_they_are_asked_for(settings: Settings) -> None:
    declare().refresh()
    assert run("etcdaero_doctor")[0] == 0  # mem: is a warning of its own
    assert run("etcdaero_doctor", "--fail-on", "warning")[0] == 1
    assert run("etcdaero_doctor", "--fail-on", "warning", "--skip", "project.settings")[0] == 0
    settings.DEBUG = True
    assert run("etcdaero_doctor", "--fail-on", "warning")[0] == 0


def test_how_much_is_told_depends_on_the_verbosity() -> None:
    declare().refresh()
    nothing = run("etcdaero_doctor", "--verbosity", "0", "--skip", "project")[1].splitlines()
    assert len(nothing) == 1
    assert "[ok] datasets.published: 1 of 1 datasets" in run("etcdaero_doctor", "--verbosity", "2")[1]
    most = run("etcdaero_doctor", "--verbosity", "3")[1]
    assert "[not applicable] records.room" in most
    assert "Reading a dataset that was never published raises DatasetNotReady." in most


def test_checks_that_a_store_did_not_answer_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    declare().refresh()
    kv_away(monkeypatch)
    code, text = run("etcdaero_doctor")
    assert code == 1
    assert "  [error] kv.read: mem:: no endpoint answers\n" in text
    assert text.count("[no answer]") == 1
    assert re.search(r"\[no answer\] datasets\.published, datasets\.fresh, datasets\.failures and \d+ more: ", text)
    everything = run("etcdaero_doctor", "-v", "2")[1]
    assert everything.count("[no answer]") == 1
    assert ", locks.held: no endpoint answers\n" in everything


def test_json() -> None:
    declare("prices")
    code, text = run("etcdaero_doctor", "--json", "--only", "datasets.published,kv", "--only", "records")
    document = json.loads(text)
    assert code == 1
    assert document["schema"] == 1
    assert {each["check"].partition(".")[0] for each in document["findings"]} == {"datasets", "kv", "records"}
    (error,) = [each for each in document["findings"] if each["severity"] == "error"]
    assert (error["check"], error["aliases"]) == ("datasets.published", ["default"])
    assert document["counts"]["error"] == 1
    assert document["counts"][str(Severity.NO_ANSWER)] == 0


def test_one_alias(settings: Settings) -> None:
    settings.ETCDAERO = {"default": {"KV": "mem:", "RECORDS": "mem:"}, "other": {"KV": "mem:x", "RECORDS": "mem:x"}}
    _, text = run("etcdaero_doctor", "--using", "other", "--json")
    told = {alias for each in json.loads(text)["findings"] for alias in each["aliases"]}
    assert told == {"other"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--timeout", "0"],
        ["--timeout", "nan"],
        ["--only", "nothing"],
        ["--skip", "etcd.nothing"],
        ["--using", "nowhere"],
        ["--yes"],
        ["--sweep", "--only", "etcd"],
        ["--sweep", "--write-probe"],
    ],
)
def test_wrong_arguments_are_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(CommandError) as caught:
        run("etcdaero_doctor", *arguments)
    assert caught.value.returncode == 2


def test_ctrl_c_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(examining, "together", interrupted)
    assert run("etcdaero_doctor") == (INTERRUPTED, "")


def test_settings_that_are_wrong_do_not_keep_it_from_telling(settings: Settings) -> None:
    settings.ETCDAERO = {"default": {"KV": "nothing://"}}
    code, text = run("etcdaero_doctor")
    assert code == 1
    assert "[error] project.settings: (etcdaero.E002)" in text


def test_writing_is_only_done_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: Any, **arguments: Any) -> Any:
        raise AssertionError("it wrote")

    stores = runtime.stores("default")
    for method in ("put", "txn", "delete_range", "lease_grant"):
        monkeypatch.setattr(stores.kv.engine, method, refused)
    monkeypatch.setattr(stores.records, "_put", refused)
    assert run("etcdaero_doctor")[0] == 0
    code, text = run("etcdaero_doctor", "--write-probe")
    assert code == 1
    assert text.count("it wrote") == 2


# --- the sweep -------------------------------------------------------------------------------------------------------


def lose_the_keys() -> int:
    """Publish a version and lose every key of it; return how many records it has."""
    prices = declare("prices")
    prices.refresh()
    stores = runtime.stores("default")
    there = len([key for key, _ in stores.records.scan() if not key.endswith(b"current")])
    stores.kv.delete_range("", prefix=True, everything=True)
    stores.records.delete(prices.layout(stores.prefix).announcement_copy)
    return there


def test_a_sweep_counts_and_changes_nothing_until_it_is_told_to() -> None:
    there = lose_the_keys()
    code, text = run("etcdaero_doctor", "--sweep")
    assert code == 0
    assert f"alias default: {there} permanent records that no version names\n" in text
    assert f"  prices (schema 1): {there} records; with --yes they expire after GARBAGE_TTL\n" in text
    assert all(meta.ttl is None for _, meta in runtime.stores("default").records.scan())
    code, text = run("etcdaero_doctor", "--sweep", "--yes")
    assert f"  prices (schema 1): {there} of {there} expire after GARBAGE_TTL\n" in text
    assert all(meta.ttl is not None for _, meta in runtime.stores("default").records.scan())
    document = json.loads(run("etcdaero_doctor", "--sweep", "--json")[1])
    assert document == {"schema": 1, "sweep": [{"alias": "default", "datasets": [], "error": ""}]}


def test_a_sweep_of_a_store_that_is_away_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    lose_the_keys()
    kv_away(monkeypatch)
    code, text = run("etcdaero_doctor", "--sweep")
    assert code == 1
    assert text == "alias default: ClusterError: no endpoint answers\n"
