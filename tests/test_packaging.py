"""What the package declares of itself is true, and its declarations agree with each other."""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import django_etcdaero
from tests.paths import ROOT

PACKAGE = ROOT / "django_etcdaero"


@pytest.fixture
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def source_files() -> set[Path]:
    return {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def test_every_directory_with_python_files_is_a_package() -> None:
    with_python = {path.parent for path in source_files() if path.suffix == ".py"}
    assert {directory for directory in with_python if not (directory / "__init__.py").exists()} == set()


def test_every_other_file_is_declared_as_package_data(pyproject: dict[str, Any]) -> None:
    patterns = pyproject["tool"]["setuptools"]["package-data"]["django_etcdaero"]
    declared = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    assert {path for path in source_files() if path.suffix != ".py"} - declared == set()


def test_the_package_is_marked_as_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


def test_tox_covers_each_declared_python_and_django(pyproject: dict[str, Any]) -> None:
    classifiers = "\n".join(pyproject["project"]["classifiers"])
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    environments = tox["tox"]["env_list"]
    pythons = {f"py{''.join(found)}" for found in re.findall(r"Python :: (3)\.(\d+)$", classifiers, re.MULTILINE)}
    djangos = {"".join(found) for found in re.findall(r"Django :: (\d)\.(\d)$", classifiers, re.MULTILINE)}
    assert set(re.findall(r"py\d+", environments)) == pythons
    assert set(re.findall(r"\b\d\d\b", environments.replace("django", " "))) == djangos
    deps = dict(re.findall(r"django(\d\d): django>=(\d\.\d),", tox["testenv"]["deps"]))
    assert {name: version.replace(".", "") for name, version in deps.items()} == {name: name for name in djangos}


def test_no_version_of_a_dependency_is_pinned_or_shut_out(pyproject: dict[str, Any]) -> None:
    project = pyproject["project"]
    required = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    assert [each for each in required if re.search(r"[<~!]|==", each.partition(";")[0])] == []


def test_the_lowest_python_is_the_same_everywhere(pyproject: dict[str, Any]) -> None:
    lowest = "3.11"
    assert pyproject["project"]["requires-python"] == f">={lowest}"
    assert pyproject["tool"]["mypy"]["python_version"] == lowest
    assert pyproject["tool"]["ruff"]["target-version"] == f"py{lowest.replace('.', '')}"


def test_the_package_tells_the_version_it_is_built_with(pyproject: dict[str, Any]) -> None:
    assert django_etcdaero.__version__ == pyproject["project"]["version"]
