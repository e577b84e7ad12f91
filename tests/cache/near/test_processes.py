"""Real processes with a near cache: they hear of each other, after forks as well, and the last word is not lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


class Worker:
    """A process that runs :mod:`tests.programs.near_caching`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments: self.call(name, *arguments)

    def call(self, *command: Any) -> Any:
        self.say(*command)
        return self.hear()

    def say(self, *command: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        """Let it end by itself."""
        self.say("exit")
        assert self.process.wait(60) == 0

    def follow(self) -> None:
        def followed() -> Any:
            self.call("get", "absent")
            return self.call("following")

        wait_until(followed, timeout=60, what="the watch")
        self.call("set", "warm", "warm")
        wait_until(lambda: self.call("get", "warm") and self.call("near", "warm"), timeout=60, what="something near")


Start = Callable[[], Worker]


@pytest.fixture(params=["sqlite", pytest.param("etcd", marks=pytest.mark.servers)])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    kv = "sqlite:///kv.sqlite3"
    if request.param == "etcd":
        kv = f"etcd://{request.getfixturevalue('shared_server').endpoint}"
    command = [sys.executable, "-W", "ignore:This process", "-m", "tests.programs.near_caching", str(tmp_path), kv]
    with ExitStack() as stack:

        def start() -> Worker:
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            )
            stack.callback(process.kill)
            return Worker(process)

        yield start


def test_processes_hear_of_each_other(start: Start) -> None:
    one, two = start(), start()
    one.follow()
    two.follow()
    one.set("k", {"a": 1})
    wait_until(lambda: two.get("k") and two.near("k"), what="it being near")
    one.set("k", {"a": 2})
    wait_until(lambda: two.near("k") is None, what="the notice")
    assert two.get("k") == {"a": 2}
    wait_until(lambda: two.get("k") and two.near("k"), what="it being near again")
    one.clear()
    wait_until(lambda: two.near("k") is None, what="the clearing")
    assert two.get("k") is None


def test_a_process_ends_though_nobody_can_be_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.programs.near_caching", str(tmp_path), "etcd://127.0.0.1:1"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        one = Worker(process)
        one.set("k", "value")
        assert one.get("k") == one.near("k") == "value"
        one.set("k", "other")
        assert one.get("k") == "other"
        assert not one.following()
        one.end()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_what_a_process_said_before_its_end_is_heard(start: Start) -> None:
    two = start()
    two.follow()
    two.set("k", "old")
    wait_until(lambda: two.get("k") and two.near("k"), what="it being near")
    one = start()
    one.set("k", "new")
    one.end()
    wait_until(lambda: two.near("k") is None, what="the notice")
    assert two.get("k") == "new"


def test_a_child_has_a_near_cache_of_its_own(start: Start) -> None:
    one, two = start(), start()
    one.follow()
    two.follow()
    one.set("k", "parent")
    wait_until(lambda: one.get("k") and one.near("k"), what="it being near")
    wait_until(lambda: two.get("k") and two.near("k"), what="it being near elsewhere")
    one.say("fork")
    assert one.hear() is True
    assert one.near("k") is None
    one.follow()
    wait_until(lambda: one.get("k") and one.near("k"), what="it being near in the child")
    one.set("k", "child")
    wait_until(lambda: two.near("k") is None, what="the child's notice")
    assert two.get("k") == "child"
    wait_until(lambda: one.get("k") and one.near("k"), what="it being near in the child")
    two.set("k", "other")
    wait_until(lambda: one.near("k") is None, what="the notice to the child")
    assert one.get("k") == "other"
    one.say("exit")
    assert one.hear() == ["child", 0]
    wait_until(lambda: one.get("k") == "other", what="the notices to the parent")
    one.end()
    two.end()
