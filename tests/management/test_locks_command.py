"""``etcdaero_locks``."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from django.core.management import load_command_class
from django.core.management.base import CommandError

from django_etcdaero import kv
from django_etcdaero.inspection import leased_keys
from django_etcdaero.keyvalue.queue.holder import Holder
from django_etcdaero.management.commands import etcdaero_locks
from django_etcdaero.runtime import runtime
from tests.keyvalue.queue.queueing import Waiter

from .running import kv_away, run


@pytest.fixture(autouse=True)
def _empty(closing: None) -> Iterator[None]:
    runtime.forget_memory()
    yield
    runtime.forget_memory()


def test_locks_are_listed() -> None:
    first, second = kv.lock("jobs/\xff\n"), kv.lock("jobs/\xff\n")
    first.acquire()
    waiter = Waiter(second)
    kv.election("leader", value="node-1").campaign()
    code, text = run("etcdaero_locks", "list")
    assert code == 0
    election, lock = sorted((line.split("\t") for line in text.splitlines()), key=lambda row: row[2])
    assert (election[:3], election[6]) == (["default", "leader", "election"], "0")
    assert lock[1] == "jobs/\xff\\x0a"
    assert (lock[2], lock[5], lock[6]) == ("lock", str(first.token), "1")
    assert lock[7].endswith(" of 10 s")
    code, text = run("etcdaero_locks", "list", "--json", "--using", "default")
    told = json.loads(text)
    assert told["errors"] == []
    shown = told["locks"][0]
    assert (shown["name"], shown["holder"]["token"], shown["holder"]["dead"]) == ("jobs/\xff\\x0a", first.token, False)
    assert [each["token"] for each in shown["waiters"]] == [second.queue()[1].token]
    first.release()
    assert waiter.wait() == "acquired"
    second.release()


def test_of_several_holders_it_is_told_how_many_and_how_many_are_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    held = [kv.semaphore("slots", 3) for _ in range(2)]
    for each in held:
        each.acquire()
    (_, text), (_, as_json) = run("etcdaero_locks", "list"), run("etcdaero_locks", "list", "--json")
    assert text.split("\t")[3].endswith(" and 1 more")
    (told,) = json.loads(as_json)["locks"]
    assert (told["kind"], told["limit"], len(told["holders"])) == ("semaphore", 3, 2)
    monkeypatch.setattr(Holder, "dead", property(lambda holder: holder.token == held[1].token))
    assert run("etcdaero_locks", "list")[1].split("\t")[3].endswith(" and 1 more (1 dead)")
    for each in held:
        each.release()


def test_a_lock_is_released_from_the_holder_with_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    lock, other = kv.lock("jobs"), kv.lock("jobs")
    lock.acquire()
    waiter = Waiter(other)
    release = ("etcdaero_locks", "release", "jobs", "--token")
    with pytest.raises(CommandError, match="not held with the token") as failed:
        run(*release, str(lock.token + 100), "--yes")
    assert failed.value.returncode == 1
    for answer, held in (("no", True), ("yes", False)):
        monkeypatch.setattr("builtins.input", lambda prompt, answer=answer: answer)
        if held:
            with pytest.raises(CommandError, match="cancelled"):
                run(*release, str(lock.token))
        else:
            assert "was taken from" in run(*release, str(lock.token))[1]
        assert lock.queue()[0].token == lock.token if held else waiter.wait() == "acquired"
    with pytest.raises(CommandError, match="is not held with the token"):
        run(*release, str(lock.token))
    _, text = run(*release, str(other.token), "--yes", "--json")
    assert json.loads(text)["holder"]["token"] == other.token
    assert kv.lock("jobs").holder() is None


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("release", "jobs"),
        ("release", "jobs", "--token", "x"),
        ("release", "", "--token", "1"),
        ("release", "jobs", "--token", "0"),
        ("release", "\\q", "--token", "1"),
        ("list", "--using", "nowhere"),
        ("list", "--timeout", "0"),
    ],
)
def test_wrong_arguments_are_exit_code_2(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError) as failed:
        run("etcdaero_locks", *arguments)
    assert failed.value.returncode in (1, 2)
    if arguments and arguments[-1] not in ("jobs", "x"):
        assert failed.value.returncode == 2


def test_a_store_that_is_away_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    kv_away(monkeypatch)
    code, text = run("etcdaero_locks", "list", "--json")
    assert (code, json.loads(text)["errors"][0]["type"]) == (1, "ClusterError")
    with pytest.raises(CommandError, match="no endpoint answers"):
        run("etcdaero_locks", "release", "jobs", "--token", "1")


def test_what_there_was_no_time_for_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        kv.put(f"zz/{number}", "x")
    monkeypatch.setattr(leased_keys, "PAGE", 1)
    monkeypatch.setattr(etcdaero_locks, "within", lambda seconds: 0.0)
    assert run("etcdaero_locks", "list")[0] == 1
    assert "keys were not looked through" in capsys.readouterr().err
    code, text = run("etcdaero_locks", "list", "--json")
    assert code == 1
    assert "keys were not looked through" in json.loads(text)["errors"][0]["message"]


def test_options_of_django_are_taken_after_the_subcommand_too() -> None:
    parser = load_command_class("django_etcdaero", "etcdaero_locks").create_parser("manage.py", "etcdaero_locks")
    given = parser.parse_args(["--no-color", "list", "--settings", "shop", "-v", "2", "--traceback"])
    assert (given.settings, given.verbosity, given.traceback, given.no_color) == ("shop", 2, True, True)
    given = parser.parse_args(["-v", "3", "--settings", "shop", "list"])
    assert (given.settings, given.verbosity, given.traceback) == ("shop", 3, False)
