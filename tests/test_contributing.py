"""What contributors are told is so: the commands exist, the tree is the one that is there, the tools do the same."""

from __future__ import annotations

import configparser
import importlib.util
import re
import shlex
import tomllib

import pytest

from tests.conftest import SERVERS
from tests.pages import DOCS, examples, tables
from tests.paths import ROOT

PACKAGE = ROOT / "django_etcdaero"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]

TOOLS = {"ruff": "ruff", "lint-imports": "import-linter", "mypy": "mypy"}
"""Commands that an extra installs, and the distribution that has them."""

INSTALLED = {"tox", "pre-commit"}
"""What the page has people install beside the extras."""


def tox() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini")
    return parser


def commands() -> list[str]:
    pages = [DOCS / "contributing.rst", ROOT / "CONTRIBUTING.md"]
    consoles = [each.text for page in pages for each in examples(page) if each.kind == "console"]
    lines = [line.removeprefix("$ ") for text in consoles for line in text.splitlines() if line.startswith("$ ")]
    return sorted({command for line in lines for command in line.split(" && ")})


@pytest.mark.parametrize("command", commands())
def test_a_command_for_contributors_exists(command: str) -> None:
    words = [word for word in shlex.split(command) if not re.match(r"[A-Z_]+=", word)]
    match words:
        case ["python" | "python3", "-m", "venv", _] | [".", ".venv/bin/activate"]:
            pass
        case ["python", "-m", "pip", "install", "-e", target, *others]:
            wanted = re.fullmatch(r"\.\[(.*)\]", target)
            assert wanted is not None
            assert set(wanted[1].split(",")) <= set(EXTRAS)
            assert set(others) == INSTALLED
        case ["python", "-m", module, *arguments]:
            assert importlib.util.find_spec(module) is not None
            paths = [argument for argument in arguments if argument.startswith("tests/")]
            assert [path for path in paths if not (ROOT / path).exists()] == []
        case ["tox", "-e", environment]:
            assert f"testenv:{environment}" in tox() or environment in expanded(tox()["tox"]["env_list"])
        case ["python", script, *_]:
            assert (ROOT / script).is_file()
        case ["pre-commit", "install"]:
            assert (ROOT / ".pre-commit-config.yaml").is_file()
        case [tool, *_] if tool in TOOLS:
            assert any(required.startswith(TOOLS[tool]) for required in EXTRAS["lint"])
        case [script]:
            assert (ROOT / script).is_file()
        case _:
            raise AssertionError(f"nobody checks $ {command}")


def expanded(env_list: str) -> set[str]:
    """Return the names of environments, ``py311-django{52,60}`` taken apart."""
    names = set()
    for line in env_list.split():
        head, _, rest = line.partition("{")
        options, _, tail = rest.partition("}")
        names |= {f"{head}{option}{tail}" for option in options.split(",")}
    return names


def test_the_commands_without_tox_are_those_of_tox() -> None:
    parser = tox()
    lint = parser["testenv:lint"]["commands"].split("\n")
    fast = parser["testenv:fast"]["commands"].split("\n")
    assert [line for line in lint if line] == ["ruff check", "ruff format --check", "lint-imports", "mypy"]
    assert [line for line in fast if line] == [
        "{[testenv:lint]commands}",
        'python -m pytest -m "not slow and not servers" {posargs:-n 4}',
    ]
    assert {*lint, 'python -m pytest -m "not slow and not servers" -n 4'} - {""} <= set(commands())


def test_the_fast_part_starts_no_server(request: pytest.FixtureRequest) -> None:
    """With another selection, or none, this says nothing."""
    if "not servers" in request.config.getoption("markexpr"):
        assert {name for item in request.session.items for name in getattr(item, "fixturenames", ())} & SERVERS == set()


def test_the_hooks_run_the_commands_of_tox_and_download_nothing() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    entries = [entry.removesuffix(" --force-exclude") for entry in re.findall(r"entry: (.+)", hooks)]
    assert entries == [line for line in tox()["testenv:lint"]["commands"].split("\n") if line]
    assert re.findall(r"repo: (.+)", hooks) == ["local"]
    assert set(re.findall(r"language: (.+)", hooks)) == {"system"}


def test_the_architecture_page_lists_the_rooms() -> None:
    listed = [row[0].strip("`") for row in dict(tables(DOCS / "architecture.rst"))["Rooms"]]
    found = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")} - {"."}
    assert sorted(listed) == sorted(found)


def test_the_architecture_page_names_files_that_exist() -> None:
    named = set(re.findall(r"``([\w/]+(?:/|\.py))``", (DOCS / "architecture.rst").read_text()))
    places = [ROOT, PACKAGE, PACKAGE / "keyvalue" / "objects"]
    assert [name for name in sorted(named) if not any((place / name).exists() for place in places)] == []
