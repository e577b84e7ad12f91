"""What a project's type checker says of its datasets, keys and objects: mypy and pyright say the same."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

PROGRAM = ROOT / "tests" / "programs" / "typed_shop.py"
EXPECTED = {
    number: line.partition("  # ")[2]
    for number, line in enumerate(PROGRAM.read_text().splitlines(), 1)
    if line.lstrip().startswith("reveal_type(")
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The program, where no configuration of this checkout is found."""
    return Path(shutil.copy(PROGRAM, tmp_path / "shop.py"))


def plain(text: str) -> str:
    """Return a type as pyright writes it: without modules, and a NamedTuple by its name."""
    count = 1
    while count:
        text, count = re.subn(r"tuple\[(?:[^][]|\[[^][]*\])*, fallback=([\w.]+)\]", r"\1", text)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", text)


def test_mypy_in_its_strict_mode_knows_the_types(shop: Path) -> None:
    # What is wrong in the package itself is not told: the package's own check is for that.
    command = ["--config-file=", "--strict", "--follow-imports=silent", "--output=json", "--cache-dir=cache", shop.name]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *command],
        cwd=shop.parent,
        env={"MYPYPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert told, done.stdout + done.stderr
    assert [each for each in told if each["severity"] != "note"] == []
    found = {each["line"]: re.fullmatch(r'Revealed type is "(.*)"', each["message"]) for each in told}
    assert {line: plain(match[1]) for line, match in found.items() if match} == EXPECTED


def test_pyright_knows_the_types(shop: Path) -> None:
    settings = {"extraPaths": [str(ROOT)], "typeCheckingMode": "standard", "include": [shop.name]}
    Path(shop.parent, "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable],
        cwd=shop.parent,
        capture_output=True,
        text=True,
        timeout=600,
    )
    told = json.loads(done.stdout)["generalDiagnostics"]
    assert done.returncode == 0, [each for each in told if each["severity"] != "information"]
    found = {
        each["range"]["start"]["line"] + 1: re.fullmatch(r'Type of "(?s:.*)" is "(.*)"', each["message"])
        for each in told
    }
    assert {line: match[1] for line, match in found.items() if match} == EXPECTED
