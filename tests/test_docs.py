"""The documentation tells the truth: its examples run, and its lists are those of the code.

Every example of a page is played in one project, in order (``docs_project/play.py``). Python that begins with a comment
such as ``# shop/datasets.py`` is a file of that project, added to what is there. The comment ``.. hidden: python``
holds what a reader need not see: set-up, and the check of the example before it.
"""

from __future__ import annotations

import configparser
import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import BaseCommand, load_command_class
from django.dispatch import Signal

import django_etcdaero
from django_etcdaero import checks, exceptions, options, signals
from django_etcdaero.datasets.declared import OPTIONS
from django_etcdaero.datasets.state.status import DatasetStatus, Outcome, RefreshResult, State
from django_etcdaero.model_datasets.dataset import MODEL_OPTIONS, ModelDataset
from django_etcdaero.schemes import ENGINES, STORES
from tests.pages import DOCS, Example, examples, of_markdown, tables
from tests.paths import ROOT

PROJECT = Path(__file__).resolve().parent / "docs_project"
PAGES = sorted([*DOCS.glob("*.rst"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])

PLAYED_ELSEWHERE = {
    "administration.rst": "on a real cluster, by tests/keyvalue/etcd/test_administration_docs.py",
    "contributing.rst": "its commands are for this checkout: test_contributing.py checks them",
    "CONTRIBUTING.md": "the same",
}
"""Pages whose examples are not for the project here."""

NOT_RUN = {
    "python3 -m venv": "installs from a package index; the example project's tests run the command itself",
    ".venv/bin/pip install": "installs from a package index",
    "python -m pip install": "installs from a package index",
    "ETCDAERO_TEST_AEROSPIKE=": "needs a real Aerospike server",
    "celery -A": "starts a worker of a project that is not here; tests/contrib/test_tasks.py has one",
}
"""Console commands that are shown and neither run nor checked, by how they begin, and why."""

NOT_EXECUTED = {
    "ini": "configuration of systemd and supervisor: read as INI, the management command in it is checked",
    "yaml": "manifests and alerts: read as YAML, the management command in them is checked",
    "text": "crontab lines: their fields are counted, the management command in it is checked",
}
"""Languages of blocks that are not executed, and what is done instead."""


def plan(page: Path) -> Iterator[tuple[str, int, str]]:
    """Say how each example that is not a file is played. Fails for one that nothing is known about."""
    for example in examples(page):
        if example.file is not None:
            continue
        if example.kind in ("python", "pycon"):
            yield (example.kind, example.line, example.text)
        elif example.kind == "console":
            yield from _console(example)
        elif example.kind in NOT_EXECUTED:
            for command in _commands(example):
                yield ("arguments", example.line, command)
        else:
            raise AssertionError(f"{page.name}, line {example.line}: nobody checks examples in {example.kind!r}")


def _commands(example: Example) -> Iterator[str]:
    """Yield the management commands that are in a configuration, with their arguments."""
    if example.kind != "yaml":
        yield from re.findall(r"manage\.py (.+)", example.text)
        return
    for words in lists(yaml.safe_load(example.text)):
        if "manage.py" in words:
            yield shlex.join(words[words.index("manage.py") + 1 :])


def lists(value: Any) -> Iterator[list[Any]]:
    """Yield all lists in a value of YAML."""
    if isinstance(value, list):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from lists(each)


def _console(example: Example) -> Iterator[tuple[str, int, str]]:
    for session in re.split(r"^(?=\$ )", example.text, flags=re.MULTILINE):
        command = session.partition("\n")[0].removeprefix("$ ")
        if not command or command.startswith(tuple(NOT_RUN)):
            continue
        if command.startswith(("gunicorn ", "uvicorn ")):
            yield ("server", example.line, command)
        elif "--loop" in command or " runserver" in command:
            yield ("arguments", example.line, command.removeprefix("python manage.py "))
        else:
            known = command.startswith(("python manage.py ", "python -m pytest"))
            assert known, f"line {example.line}: what is to be done with $ {command}?"
            yield ("console", example.line, session)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in PLAYED_ELSEWHERE], ids=lambda page: page.stem
)
def test_the_examples_of_a_page_work(page: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests" / "waiting.py", project)
    for example in examples(page):
        if example.file is not None:
            path = project / example.file
            path.parent.mkdir(parents=True, exist_ok=True)
            compile(example.text, f"{page.name}:{example.line}", "exec")
            with path.open("a") as file:
                file.write("\n" + example.text)
    steps = list(plan(page))
    (tmp_path / "plan.json").write_text(json.dumps(steps))
    command = [sys.executable, "-W", "error", "play.py", str(tmp_path / "plan.json")]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, f"{page.name}\n{done.stdout}\n{done.stderr}"


def test_nothing_that_looks_like_an_example_escapes() -> None:
    for page in DOCS.rglob("*.rst"):
        for number, line in enumerate(page.read_text().splitlines(), 1):
            literal = line.rstrip().endswith("::") and not line.lstrip().startswith("..")
            unknown = re.match(r" *\.\. (code|sourcecode|parsed-literal|doctest|testcode|highlight)::", line)
            assert not literal, f"{page.name}, line {number}: a literal block without a language"
            assert not unknown, f"{page.name}, line {number}: use code-block"
    for page in PAGES:
        if page.suffix == ".md":
            outside = _outside_examples(page.read_text().splitlines())
            strange = [line for line in outside if re.match(r"(    | +```|~~~|\t|<!--)", line)]
            assert not strange, f"{page.name}: an example that is not played: {strange}"


def test_the_pages_are_restructuredtext() -> None:
    assert [path for path in DOCS.rglob("*") if path.suffix in (".md", ".txt")] == []


def _outside_examples(lines: list[str]) -> list[str]:
    inside = {
        example.line + offset - 2 for example in of_markdown(lines) for offset in range(example.text.count("\n") + 2)
    }
    return [line for number, line in enumerate(lines) if number not in inside]


def test_everything_that_is_not_run_is_still_shown_somewhere() -> None:
    shown = [example for page in PAGES for example in examples(page)]
    consoles = "\n".join(example.text for example in shown if example.kind == "console")
    assert [start for start in NOT_RUN if f"$ {start}" not in consoles] == []
    assert set(NOT_EXECUTED) <= {example.kind for example in shown}


def test_configuration_of_other_programs_is_well_formed() -> None:
    for page in PAGES:
        for example in examples(page):
            if example.kind == "ini":
                parser = configparser.ConfigParser(interpolation=None, strict=False)
                parser.read_string(example.text)
                assert parser.sections()
            elif example.kind == "yaml":
                assert isinstance(yaml.safe_load(example.text), dict)
            elif example.kind == "text":
                for line in example.text.splitlines():
                    assert re.match(r"(\S+ ){5}\S+ ", line), f"{page.name}: {line}"


# --- lists -----------------------------------------------------------------------------------------------------------


def table(page: str, title: str) -> list[list[str]]:
    """Return the cells of the list-table with that title, without the header row."""
    return dict(tables(DOCS / page))[title]


def names(page: str, title: str) -> list[str]:
    return [row[0].strip("`") for row in table(page, title)]


def test_the_settings_page_lists_the_options_with_their_defaults() -> None:
    described = {row[0].strip("`"): row[1].strip("`") for row in table("settings.rst", "Options")}
    assert described == {field.name: repr(field.default) for field in fields(options.Options)}


NO_RANGE = ("START", "SHARED_DIR", "TEMPORARY_DIR", "REFRESH_IN_RUNSERVER", "ADMIN_KEYS")
"""Options that are no numbers."""


@pytest.mark.parametrize("name", [name for name in options.OPTION_NAMES if name not in NO_RANGE])
def test_the_settings_page_tells_the_range_of_an_option(name: str) -> None:
    values = {row[0].strip("`"): row[2] for row in table("settings.rst", "Options")}[name]
    least, most = (float(number) for number in re.findall(r"\d+(?:\.\d+)?", values))
    kind = int if "whole" in values else float
    assert options.complaint(name, kind(least)) is None
    assert options.complaint(name, kind(most)) is None
    assert options.complaint(name, kind(least) - kind(1)) is not None
    assert options.complaint(name, kind(most) + kind(1)) is not None


def test_the_settings_page_lists_the_url_schemes() -> None:
    assert {name.partition(":")[0] for name in names("settings.rst", "URLs")} == set(ENGINES) | set(STORES)


def test_the_settings_page_lists_the_system_checks() -> None:
    assert checks.__doc__ is not None
    assert names("settings.rst", "System checks") == re.findall(r"^([EW]\d{3}) ", checks.__doc__, re.MULTILINE)


def test_the_errors_page_lists_the_exceptions() -> None:
    values = vars(exceptions).values()
    classes = {each.__name__ for each in values if isinstance(each, type) and issubclass(each, Exception)}
    listed = names("errors.rst", "Errors")
    assert set(listed) == classes
    assert len(listed) == len(classes)


def test_the_errors_page_names_the_builtins_that_an_error_derives_from() -> None:
    for row in table("errors.rst", "Errors"):
        bases = getattr(exceptions, row[0].strip("`")).__bases__
        builtin = {base.__name__ for base in bases if base.__module__ == "builtins"} - {"Exception"}
        assert set(re.findall(r"``(\w+)``", row[1])) - set(vars(exceptions)) == builtin, row[0]


def test_the_refreshing_page_lists_the_outcomes_with_their_exit_codes() -> None:
    described = {row[0].strip("`"): row[2] for row in table("refreshing.rst", "Outcomes")}
    assert described == {str(each): "0" if RefreshResult(name="", outcome=each).ok else "1" for each in Outcome}


def test_the_refreshing_page_lists_the_options_of_the_command() -> None:
    parser = load_command_class("django_etcdaero", "etcdaero_refresh").create_parser("manage.py", "etcdaero_refresh")
    plain = BaseCommand().create_parser("manage.py", "any")
    common = {flag for action in plain._actions for flag in action.option_strings}
    own = {flag for action in parser._actions for flag in action.option_strings} - common
    assert {name.partition(" ")[0] for name in names("refreshing.rst", "Options of the command")} - {"NAME"} == own


def test_the_reading_page_lists_the_states() -> None:
    assert names("reading.rst", "States") == [str(state) for state in State]


def test_the_reading_page_lists_the_fields_of_a_status() -> None:
    listed = {name for row in table("reading.rst", "Fields of a status") for name in re.findall(r"``(\w+)``", row[0])}
    assert listed == {field.name for field in fields(DatasetStatus)}


def test_the_declaring_page_lists_the_options_of_a_dataset() -> None:
    described = {row[0].strip("`"): row[1].strip("`") for row in table("declaring.rst", "Options of a dataset")}
    assert set(described) == {"name", *OPTIONS}


def test_the_models_page_lists_the_attributes_of_a_model_dataset() -> None:
    rows = {name: row[1].strip("`") for row in table("models.rst", "Attributes of a ModelDataset")
            for name in re.findall(r"``(\w+)``", row[0])}  # fmt: skip
    assert rows == {name: repr(getattr(ModelDataset, name)).replace("'", '"') for name in MODEL_OPTIONS}


def test_the_production_page_lists_the_signals_and_the_loggers() -> None:
    found = {name for name, value in vars(signals).items() if isinstance(value, Signal)}
    assert set(names("production.rst", "Signals")) == found
    package = Path(django_etcdaero.__file__).parent
    sources = "\n".join(path.read_text() for path in package.rglob("*.py"))
    assert set(names("production.rst", "Loggers")) == set(re.findall(r'getLogger\("([\w.]+)"\)', sources))


def test_names_in_the_pages_exist() -> None:
    """What a page calls ``django_etcdaero.something`` can be imported."""
    for page in PAGES:
        for name in set(re.findall(r"`(django_etcdaero(?:\.\w+)+)(?:\(.*?\))?`", page.read_text())):
            if name in names("production.rst", "Loggers"):
                continue
            assert _resolve(name) is not None, f"{page.name}: {name}"


def _resolve(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        return importlib.import_module(name)
    except ImportError:
        return getattr(importlib.import_module(module), attribute, None)
