"""What holds for all commands: wrong arguments, Ctrl-C, and a store that does not answer."""

from __future__ import annotations

import pkgutil
import socket
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.test import override_settings

from django_etcdaero.management import commands
from django_etcdaero.testing import real_stores
from tests.management.running import declare, run

NAMES = [each.name for each in pkgutil.iter_modules(commands.__path__)]
FILE = "{file}"
"""Stands for a file of the test."""
CALLS: dict[str, list[list[str]]] = {
    "etcdaero_cache": [
        ["stats"],
        ["get", "k"],
        ["delete", "k"],
        ["clear", "--yes"],
        ["invalidate", "t"],
    ],
    "etcdaero_delete": [["k"], ["k", "--prefix"], ["k", "--prefix", "--yes"], ["k", "--if-revision", "7"]],
    "etcdaero_diff": [["prices"]],
    "etcdaero_doctor": [["--only", "kv"], ["--sweep"]],
    "etcdaero_export": [["prices", FILE]],
    "etcdaero_forget": [["--list"], ["old", "--yes"]],
    "etcdaero_get": [["k"], ["k", "--history"]],
    "etcdaero_history": [["prices"]],
    "etcdaero_import": [["prices", FILE, "--yes"]],
    "etcdaero_locks": [["list"], ["release", "l", "--token", "3", "--yes"]],
    "etcdaero_ls": [[], ["--tree"]],
    "etcdaero_pin": [["prices"]],
    "etcdaero_processes": [[]],
    "etcdaero_put": [["k", "v"], ["k", "v", "--ttl", "9"], ["k", "v", "--if-absent"]],
    "etcdaero_refresh": [["prices"]],
    "etcdaero_rollback": [["prices", "1", "--yes"]],
    "etcdaero_status": [[], ["prices"]],
    "etcdaero_unpin": [["prices"]],
    "etcdaero_watch": [["k", "--count", "1"]],
}
"""Ways to call each command, in which it asks its stores."""
QUICK = {"etcdaero_history", "etcdaero_locks", "etcdaero_put"}
EACH = [
    pytest.param(name, arguments, id=" ".join([name, *arguments]), marks=[] if name in QUICK else [pytest.mark.slow])
    for name in NAMES
    for arguments in CALLS[name]
]
WITHOUT_LIMIT = {"etcdaero_diff", "etcdaero_export", "etcdaero_import", "etcdaero_refresh"}
"""Take as long as there are rows: each of their calls has the limit of the settings."""
AWAY = "127.0.0.1:1"
STORES = {
    "KV": f"etcd://{AWAY}",
    "RECORDS": f"etcd://{AWAY}/records",
    "PREFIX": "shop",
    "OPTIONS": {"CALL_TIMEOUT": 0.5},
}
CACHE = {"BACKEND": "django_etcdaero.cache.EtcdAeroCache", "LOCATION": "etcdaero:default"}


def with_file(arguments: list[str], directory: Path) -> list[str]:
    return [str(directory / "file") if each == FILE else each for each in arguments]


def code_of(name: str, *arguments: str) -> int:
    """Run a command as from the command line; return its exit code."""
    with pytest.raises(SystemExit) as caught:
        load_command_class("django_etcdaero", name).run_from_argv(["manage.py", name, *arguments])
    return int(caught.value.code or 0)


def test_no_command_is_forgotten() -> None:
    assert set(CALLS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_arguments_are_exit_code_2(name: str, registry: Any, capsys: pytest.CaptureFixture[str]) -> None:
    declare()
    assert code_of(name, *CALLS[name][0], "--no-such-option") == 2
    assert code_of(name, *["x"] * 9) == 2
    parser = load_command_class("django_etcdaero", name).create_parser("manage.py", name)
    options = {option for action in _actions(parser) for option in action.option_strings}
    for unknown in {"--using", "--alias"} & options:
        for arguments in CALLS[name]:
            assert code_of(name, *arguments, unknown, "nobody") == 2
    for wrong in ("0", "-1", "nan", "x") if "--timeout" in options else ():
        assert code_of(name, *CALLS[name][0], f"--timeout={wrong}") == 2
    if CALLS[name][0][:1] == ["prices"]:
        assert code_of(name, "nothing", *CALLS[name][0][1:]) == 2
    assert "Traceback" not in capsys.readouterr().err


def _actions(parser: Any) -> list[Any]:
    """Return the actions of a parser and of its subcommands."""
    found = []
    for action in parser._actions:
        found.append(action)
        for sub in (getattr(action, "choices", None) or {}).values() if action.nargs == "A..." else ():
            found += _actions(sub)
    return found


ACTING = [each for each in NAMES if each not in ("etcdaero_refresh", "etcdaero_watch")]
"""Without those for which a signal is the ordinary end."""


@pytest.mark.parametrize("name", ACTING)
def test_ctrl_c_is_exit_code_130_without_a_word(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(self: Any, options: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(load_command_class("django_etcdaero", name)), "act", interrupt)
    assert code_of(name, *with_file(CALLS[name][0], tmp_path)) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.fixture
def file(tmp_path: Path, registry: Any) -> Path:
    """A directory with an exported version in the file."""
    prices = declare()
    assert prices.refresh().ok
    prices.export_version(str(tmp_path / "file"))
    return tmp_path


def told(
    name: str, arguments: list[str], place: str, capsys: pytest.CaptureFixture[str], *, limit: str
) -> tuple[int, str]:
    """Run a command whose stores are at ``place`` with little time; return exit code and all that it said."""
    timeout = [] if name in WITHOUT_LIMIT else ["--timeout", limit]
    stores = STORES | {"KV": f"etcd://{place}", "RECORDS": f"etcd://{place}/records"}
    with real_stores(), override_settings(ETCDAERO={"default": stores}, CACHES={"default": CACHE}):
        try:
            code, text = run(name, *arguments, *timeout)
        except CommandError as error:
            code, text = error.returncode, str(error)
    return code, text + capsys.readouterr().err


@pytest.mark.parametrize(("name", "arguments"), EACH)
def test_a_store_that_is_gone_is_named(
    name: str, arguments: list[str], file: Path, closing: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = told(name, with_file(arguments, file), AWAY, capsys, limit="5")
    assert code == 1
    assert AWAY in text
    assert "what was to be changed" not in text, "nothing can have been changed"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arguments"), EACH)
def test_a_store_that_is_frozen_is_named(
    name: str, arguments: list[str], file: Path, closing: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        code, text = told(name, with_file(arguments, file), place, capsys, limit="5")
    assert code == 1
    assert place in text


def test_the_message_says_when_it_was_asked_for(closing: None) -> None:
    asked = pytest.raises(CommandError, match=r"asked at .* UTC")
    with real_stores(), override_settings(ETCDAERO={"default": STORES}), asked:
        call_command("etcdaero_get", "k")


def test_a_project_without_datasets_is_told_which_stores_answer(registry: Any, closing: None) -> None:
    code, text = run("etcdaero_status")
    assert (code, text.splitlines()[1:]) == (
        0,
        ["alias default: KV (mem:) answers, RECORDS (mem:) answers", "processes: 0"],
    )
    with real_stores(), override_settings(ETCDAERO={"default": STORES | {"RECORDS": "mem:"}}):
        code, text = run("etcdaero_status")
    assert code == 1
    assert "alias default: RECORDS (mem:) answers\n" in text
    assert f"alias default: KV: ClusterError: Range: no endpoint could answer: {AWAY}" in text
