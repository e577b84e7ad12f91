"""What ``django_etcdaero.keyvalue`` offers at run time, and what type checkers are told, are the same."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from django_etcdaero import keyvalue

HOMES = {name: home for home, names in keyvalue._HOMES.items() for name in names}


def test_type_checkers_are_told_all_names_from_where_they_come() -> None:
    tree = ast.parse(Path(keyvalue.__file__).read_text())
    told = {
        alias.asname: each.module
        for block in tree.body
        if isinstance(block, ast.If)
        for each in block.body
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
    }
    assert told == HOMES


def test_every_name_can_be_imported() -> None:
    for name, home in HOMES.items():
        assert getattr(keyvalue, name) is getattr(importlib.import_module(f"{keyvalue.__name__}.{home}"), name)


def test_other_names_are_errors_and_dir_lists_those_that_exist() -> None:
    with pytest.raises(AttributeError, match="keyvalue' has no attribute 'nothing'"):
        keyvalue.nothing  # noqa: B018
    assert set(HOMES) <= set(dir(keyvalue))
