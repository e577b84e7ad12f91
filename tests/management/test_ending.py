"""Commands that are ended early: by Ctrl-C, or because nobody reads on."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest
from django.core.management import call_command

from django_etcdaero import kv
from tests.management.running import declare

PRINTING = [  # without etcdaero_watch: Ctrl-C is its ordinary end
    ["etcdaero_cache", "stats"],
    ["etcdaero_doctor", "--only", "kv"],
    ["etcdaero_get", "ended"],
    ["etcdaero_history", "prices"],
    ["etcdaero_locks", "list", "--json"],
    ["etcdaero_ls"],
    ["etcdaero_processes", "--json"],
    ["etcdaero_pin", "prices"],
    ["etcdaero_status"],
]


class Ending(io.StringIO):
    """An output to which nothing can be written."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (BrokenPipeError, 0)])
@pytest.mark.parametrize("arguments", PRINTING, ids=lambda each: each[0])
def test_a_command_that_is_ended_says_nothing(
    arguments: list[str],
    error: type[BaseException],
    code: int,
    registry: Any,
    closing: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "dup2", lambda *fds: None)  # that of the tests is still needed
    monkeypatch.setattr("sys.stdout.fileno", lambda: 1)
    assert declare().refresh().ok
    kv.put("ended", "1")
    with pytest.raises(SystemExit) as caught:
        call_command(*arguments, stdout=Ending(error), stderr=io.StringIO(), no_color=True)
    assert caught.value.code == code
    assert capsys.readouterr() == ("", "")
