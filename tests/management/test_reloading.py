"""The command that watches over a child which does the work, and starts the next one when files change."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from django_etcdaero.management.reloading import Watching


def test_a_file_that_is_put_right_while_the_child_still_ends_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "broken_for_a_moment.py"
    file.touch()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("broken_for_a_moment")
    told: list[str] = []

    class Repaired(Watching):
        """Its first child cannot run the code; before it has ended the file is put right."""

        codes = iter([1, 0])

        def _run_child(self) -> int:
            code = next(self.codes)
            if code:
                os.utime(file, (1, 1))
            return code

    assert Repaired(told.append).run() == 0
    assert told == ["ended with exit code 1; it begins anew when a file changes"]
