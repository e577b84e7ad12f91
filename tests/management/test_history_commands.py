"""The commands that look at versions and act on them: what they print, ask, and answer when something is in the way."""

from __future__ import annotations

import io
import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command, load_command_class

from django_etcdaero import Changes, MinRows, datasets, kv
from django_etcdaero.runtime import runtime
from tests.management.running import declare, kv_away, register, run, untimed

pytestmark = pytest.mark.usefixtures("registry")


@pytest.fixture
def prices() -> Any:
    """A dataset with two versions, and a load that was refused."""
    made = declare(validators=[MinRows(1)])
    made.source.update(a={"price": 1}, b={"price": 2})
    made.refresh()
    made.source.update(a={"price": 3}, c={"price": 4})
    del made.source["b"]
    made.refresh(force=True)
    return made


def answering(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr("builtins.input", lambda prompt: answer)


def refusal(*arguments: str) -> tuple[str, int]:
    with pytest.raises(CommandError) as caught:
        call_command(*arguments, stdout=io.StringIO())
    return str(caught.value), caught.value.returncode


def current(dataset: Any) -> int:
    return next(each.version for each in dataset.history() if each.current)


# --- looking ---------------------------------------------------------------------------------------------------------


def test_the_history_in_words(prices: Any) -> None:
    prices.rollback(1, reason="wrong prices", by="anna")
    prices.source.clear()
    prices.refresh(force=True)
    code, text = run("etcdaero_history", "prices")
    lines = text.splitlines()
    assert code == 0
    assert lines[0].startswith("version 2: 2 rows, ")
    assert lines[1] == "  MinRows: 2 rows"
    assert lines[2].startswith("version 1: 2 rows, ")
    assert lines[2].endswith(" s, current")
    assert lines[3].startswith("  pinned to version 1 by anna since ")
    assert lines[3].endswith(": wrong prices")
    assert lines[5].startswith("refused ")
    assert lines[5].endswith(": MinRows: 0 rows, and at least 1 are required")


def test_what_only_changes_were_loaded_for_is_told() -> None:
    told: list[str] = []
    made = declare(
        "told",
        load_changes=lambda since: Changes({key: made.source[key] for key in told[since:]}, [], len(told)),
        change_cursor=lambda: len(told),
    )
    made.source.update(a={"price": 1}, b={"price": 2})
    made.refresh()
    made.source["a"] = {"price": 3}
    told.append("a")
    made.refresh(force=True)
    made.source["b"] = {"price": 4}  # nobody tells
    made.refresh(full=True)
    lines = run("etcdaero_history", "told")[1].splitlines()
    assert lines[1] == "  everything was loaded; 1 rows were not what changes had told"
    assert lines[3] == "  only changes were loaded"
    assert re.search(r"source last read [\d:]+ UTC, everything [\d:]+ UTC", run("etcdaero_status", "told")[1])


def test_the_history_as_json(prices: Any) -> None:
    prices.source.clear()
    prices.refresh(force=True)
    document = json.loads(run("etcdaero_history", "prices", "--json")[1])
    assert document["name"] == "prices"
    assert [(each["announcement"]["version"], each["current"]) for each in document["versions"]] == [
        (2, True), (1, False)
    ]  # fmt: skip
    assert document["versions"][0]["results"] == [
        {"name": "MinRows", "ok": True, "text": "2 rows", "figures": {"minimum": 1, "rows": 2}, "overridden": False}
    ]
    assert [each["results"][0]["ok"] for each in document["refused"]] == [False]


def test_the_history_of_nothing() -> None:
    declare()
    assert run("etcdaero_history", "prices") == (0, "nothing published yet; run 'manage.py etcdaero_refresh'\n")


def test_a_diff_in_words(prices: Any) -> None:
    code, text = run("etcdaero_diff", "prices")
    assert code == 0
    assert text.splitlines()[0] == "prices: version 1 to 2: 1 added, 1 removed, 1 changed"
    assert sorted(text.splitlines()[1:]) == [
        "    ~ price: 1 → 3", "+ 'c': {'price': 4}", "- 'b': {'price': 2}", "~ 'a'"
    ]  # fmt: skip
    assert "… and 2 more (--limit 0 shows all)" in run("etcdaero_diff", "prices", "1", "2", "--limit", "1")[1]
    assert "more" not in run("etcdaero_diff", "prices", "--limit", "0")[1]


def test_a_field_of_any_name_is_shown_in_a_line() -> None:
    prices = declare()
    prices.source.update(a={"x\x1b[2J\n": 1, "\ud800": 1, (1, 2): 1})
    prices.refresh()
    prices.source.update(a={"x\x1b[2J\n": 2, "\ud800": 2, (1, 2): 2})
    prices.refresh(force=True)
    assert sorted(run("etcdaero_diff", "prices")[1].splitlines()[2:]) == [
        r"    ~ '\ud800': 1 → 2", r"    ~ 'x\x1b[2J\n': 1 → 2", "    ~ (1, 2): 1 → 2"
    ]  # fmt: skip


def test_what_the_terminal_cannot_show_is_escaped(prices: Any) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    call_command("etcdaero_diff", "prices", stdout=terminal)
    terminal.flush()
    assert rb"~ price: 1 \u2192 3" in terminal.buffer.getvalue()  # type: ignore[attr-defined]
    assert terminal.errors == "strict"


def test_a_diff_as_json() -> None:
    prices = declare()
    prices.source.update(a={(1, 2): {1}, "n": 1.5})
    prices.refresh()
    prices.source.update(a={"n": float("inf"), "b": b"x"})
    prices.refresh(force=True)
    numbers, change = map(json.loads, run("etcdaero_diff", "prices", "--json")[1].splitlines())
    assert numbers == {"name": "prices", "old": 1, "new": 2, "added": 0, "removed": 0, "changed": 1}
    assert (change["key"], change["kind"]) == ("a", "changed")
    assert change["old"] == {"(1, 2)": [1], "n": 1.5}
    assert change["new"] == {"n": "inf", "b": "b'x'"}
    assert [each["kind"] for each in change["fields"]] == ["removed", "changed", "added"]


# --- acting ----------------------------------------------------------------------------------------------------------


def test_a_pin_needs_no_answer_and_tells_who(prices: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    monkeypatch.setattr("socket.gethostname", lambda: "web1")
    assert run("etcdaero_pin", "prices", "--reason", "stocktaking") == (0, "prices: pinned to version 2\n")
    pin = prices.history()[0].pin
    assert (pin.by, pin.reason) == ("anna@web1", "stocktaking")
    text = run("etcdaero_status")[1]
    assert "pinned to version 2 by anna@web1 since " in text
    assert json.loads(run("etcdaero_status", "--json")[1])["datasets"][0]["pin"]["reason"] == "stocktaking"
    assert run("etcdaero_unpin", "prices") == (0, "prices: unpinned; a load was requested\n")
    assert run("etcdaero_unpin", "prices") == (0, "prices: was not pinned\n")


def test_a_user_without_a_name_is_told_by_number(prices: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("getpass.getuser", nobody)
    monkeypatch.setattr("os.getuid", lambda: 1234)
    run("etcdaero_pin", "prices")
    assert prices.history()[0].pin.by.startswith("1234@")


def test_what_changes_for_readers_is_asked_first(prices: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "no")
    for command in (("etcdaero_rollback", "prices"), ("etcdaero_pin", "prices", "1")):
        assert refusal(*command) == ("cancelled", 1)
    assert current(prices) == 2
    answering(monkeypatch, "yes")
    code, text = run("etcdaero_rollback", "prices", "--by", "ben")
    assert code == 0
    assert "All processes will serve version 1 of 'prices' (2 rows) instead of version 2 (2 rows)" in text
    assert text.endswith("prices: went back to version 1, and is pinned\n")
    assert (current(prices), prices.history()[1].pin.by) == (1, "ben")
    assert run("etcdaero_pin", "prices", "2", "--noinput") == (0, "prices: pinned to version 2\n")


@pytest.mark.parametrize(
    ("instead", "said"),
    [
        (EOFError, ("nobody answers; to do it without asking say --noinput", 1)),
        (KeyboardInterrupt, ("cancelled", 130)),
    ],
)
def test_without_an_answer_nothing_is_done(
    prices: Any, monkeypatch: pytest.MonkeyPatch, instead: type[BaseException], said: tuple[str, int]
) -> None:
    def asked(prompt: str) -> str:
        raise instead

    monkeypatch.setattr("builtins.input", asked)
    assert refusal("etcdaero_rollback", "prices") == said
    assert current(prices) == 2


def test_a_version_goes_to_a_file_and_comes_back(prices: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = str(tmp_path / "prices.version")
    code, text = run("etcdaero_export", "prices", file, "1")
    assert (code, text.startswith("prices: exported version 1: 2 rows, ")) == (0, True)
    answering(monkeypatch, "yes")
    code, text = run("etcdaero_import", "prices", file)
    assert code == 0
    assert "All processes will serve the 2 rows of version 1 of 'prices', published " in text
    assert "prices: refreshed: version 3, 2 rows" in text
    result = json.loads(run("etcdaero_import", "prices", file, "--noinput", "--json")[1])
    assert result["outcome"] == "unchanged"
    declare("costs", validators=[MinRows(9)])
    assert refusal("etcdaero_import", "costs", file, "--noinput")[0].startswith(
        "InvalidRequest: the file holds 'prices'"
    )
    code, text = run("etcdaero_import", "costs", file, "--noinput", "--force")
    assert (code, "MinRows: 2 rows, and at least 9" in text) == (1, True)
    assert run("etcdaero_import", "costs", file, "--noinput", "--force", "--no-validators")[0] == 0


def test_an_import_that_finds_the_lock_taken_has_failed(prices: Any, tmp_path: Path) -> None:
    file = str(tmp_path / "prices.version")
    run("etcdaero_export", "prices", file, "1")
    with kv.lock(prices.layout(runtime.stores("default").prefix).lock):
        code, text = run("etcdaero_import", "prices", file, "--noinput", "--wait", "0")
    assert (code, text.startswith("prices: locked by ")) == (1, True)


def test_what_no_code_declares_is_listed_and_forgotten(prices: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    declare("orphan").refresh()
    assert run("etcdaero_forget", "--list") == (0, "nothing is stored that this code does not declare\n")
    del datasets["orphan"]
    code, text = run("etcdaero_forget", "--list")
    assert (code, text.startswith("orphan, schema 1 (alias default): version 1: 1 rows, ")) == (0, True)
    document = json.loads(run("etcdaero_forget", "--list", "--json")[1])
    assert (document["name"], document["announcement"]["rows"]) == ("orphan", 1)
    answering(monkeypatch, "no")
    assert refusal("etcdaero_forget", "orphan") == ("cancelled", 1)
    register(1, {"orphan": 1}, {})
    assert "is read by 1 processes" in refusal("etcdaero_forget", "orphan", "--noinput")[0]
    code, text = run("etcdaero_forget", "orphan", "--noinput", "--force")
    assert (code, text) == (0, "forgotten: orphan, schema 1 (alias default)\n")
    assert run("etcdaero_forget", "--list")[1].startswith("nothing")
    assert refusal("etcdaero_forget", "orphan") == ("nothing is stored of a dataset orphan (alias: default)", 1)
    assert "is declared in" in refusal("etcdaero_forget", "prices", "--noinput")[0]


def test_nobody_is_asked_whether_to_forget_what_is_refused(prices: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "no")
    assert "is declared in" in refusal("etcdaero_forget", "prices")[0]
    assert refusal("etcdaero_forget", "prices", "--force") == ("cancelled", 1)


# --- what is in the way ----------------------------------------------------------------------------------------------

ALL = [
    ("etcdaero_history", "prices"),
    ("etcdaero_diff", "prices"),
    ("etcdaero_pin", "prices"),
    ("etcdaero_rollback", "prices", "--noinput"),
    ("etcdaero_export", "prices", "nowhere/prices.version"),
    ("etcdaero_forget", "prices", "--noinput"),
]


@pytest.mark.parametrize("command", ALL, ids=lambda command: command[0])
def test_a_store_that_is_away_is_one_line(prices: Any, monkeypatch: pytest.MonkeyPatch, command: Any) -> None:
    kv_away(monkeypatch)
    said, code = refusal(*command)
    assert (untimed(said), code) == ("ClusterError: no endpoint answers", 1)


@pytest.mark.parametrize("command", [each for each in ALL if each[0] not in ("etcdaero_diff", "etcdaero_export")])
def test_a_store_that_does_not_answer_costs_the_time_that_is_given(
    prices: Any, monkeypatch: pytest.MonkeyPatch, command: Any
) -> None:
    thawed = threading.Event()
    monkeypatch.setattr(runtime.stores("default").kv.engine, "range", lambda *args, **arguments: thawed.wait(60))
    said, code = refusal(*command, "--timeout", "0.1")
    thawed.set()
    unknown = "; what was to be changed may be, or not" if command[0] == "etcdaero_pin" else ""  # the others look first
    assert (untimed(said), code) == (f"DeadlineExceeded: no answer within 0.1 s{unknown}", 1)


@pytest.mark.parametrize(
    ("command", "said", "code"),
    [
        (("etcdaero_history", "prizes"), "no such dataset: prizes; known: prices", 2),
        (("etcdaero_history", "prices", "--timeout", "0"), "--timeout must be", 2),
        (("etcdaero_diff", "prices", "7"), "KeyNotFound: dataset 'prices' has no kept version 7; kept: 2, 1", 1),
        (("etcdaero_diff", "prices", "--limit", "-1"), "--limit must be 0 or more", 2),
        (("etcdaero_pin", "prices", "7", "--noinput"), "KeyNotFound: dataset 'prices' has no kept version 7", 1),
        (("etcdaero_pin", "prices", "--reason", "x" * 2000), "InvalidRequest: reason: expected", 1),
        (("etcdaero_import", "prices", "nowhere"), "FileNotFoundError: ", 1),
        (("etcdaero_import", "prices", __file__), "ResponseError: the file is no export of a version", 1),
        (("etcdaero_import", "prices", "-"), "FILE - goes with --noinput only", 2),
        (("etcdaero_import", "prices", "-", "--wait", "-1"), "--wait must be", 2),
        (("etcdaero_forget",), "give either a NAME, or --list", 2),
        (("etcdaero_forget", "x", "--using", "nowhere"), "no such alias: nowhere; known: default", 2),
        (("etcdaero_refresh", "--loop", "--no-validators"), "--loop does not go with --no-validators", 2),
    ],
)
def test_what_is_wrong_is_told(prices: Any, command: Any, said: str, code: int) -> None:
    text, returned = refusal(*command)
    assert text.startswith(said)
    assert returned == code


def test_validators_are_left_out_for_one_refresh() -> None:
    declare(validators=[MinRows(5)])
    assert run("etcdaero_refresh")[0] == 1
    assert run("etcdaero_refresh", "--force", "--no-validators")[0] == 0
    assert "validators: left out by hand" in run("etcdaero_history", "prices")[1]


@pytest.mark.parametrize("option", ["--noinput", "--no-input", "--yes"])
def test_consent_is_spelt_alike_in_all_commands(option: str) -> None:
    for command in (
        ("pin", "prices", "1"),
        ("rollback", "prices", "1"),
        ("import", "prices", "file"),
        ("forget", "prices"),
        ("doctor", "--sweep"),
        ("delete", "key", "--prefix"),
        ("locks", "release", "lock", "--token", "1"),
        ("cache", "clear"),
    ):
        parser = load_command_class("django_etcdaero", f"etcdaero_{command[0]}").create_parser("manage.py", command[0])
        assert not parser.parse_args([*command[1:], option]).interactive, command


@pytest.mark.parametrize(("command", "unknown"), [("get", False), ("put", True)])
def test_only_a_change_is_said_to_be_unknown(command: str, unknown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_etcdaero.management.acting.join", lambda thread, limit: False)
    told, code = refusal(f"etcdaero_{command}", "a", *(["1"] if command == "put" else []))
    assert (("may be, or not" in told), code) == (unknown, 1)
