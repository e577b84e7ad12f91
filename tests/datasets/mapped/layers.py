"""A dataset whose changes are laid over its file of rows, however small that is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_etcdaero.datasets.mapped import folding, layering, making, versions
from django_etcdaero.datasets.mapped.rows import MappedRows
from django_etcdaero.datasets.mapped.stack import Stack
from django_etcdaero.datasets.snapshot import rows_of
from tests.datasets.hosting import Following
from tests.datasets.publish.changing import Table, declared

Files = Callable[[str], list[Path]]

ROWS = {f"key-{number}": {"id": number, "group": number % 7, "text": "x" * (number % 90)} for number in range(2000)}


@pytest.fixture(autouse=True)
def small_files_have_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "LEAST", 0)
    monkeypatch.setattr(versions, "PATIENCE", 0.0)


def changing(declare: Any, rows: Any = None, **options: Any) -> Any:
    """Declare a shared dataset that is loaded from a table, and publish it."""
    dataset = declared(declare, ROWS if rows is None else rows, shared=True, **options)
    assert dataset.refresh(force=True).ok
    return dataset


def stack_of(dataset: Any) -> Stack:
    """Return the files from which a dataset is read."""
    rows = rows_of(dataset.snapshot())
    assert isinstance(rows, MappedRows)
    return rows.stack


def check(dataset: Any) -> None:
    """What is read is what was loaded, whichever way it is read."""
    rows, snapshot = dataset.table.rows, dataset.snapshot()
    assert dict(snapshot.items()) == rows
    assert len(snapshot) == len(rows) == len(list(snapshot))
    assert all(snapshot[key] == row and key in snapshot for key, row in rows.items())


def loading(declare: Any, rows: Any, **options: Any) -> Any:
    """Declare a shared dataset that is loaded as a whole each time from a table, and publish it."""
    dataset = declare(table=Table(rows), load=lambda self: dict(self.table.rows), shared=True, **options)
    assert dataset.refresh(force=True).ok
    return dataset


def fold_all(follower: Following, files: Files) -> None:
    """Take steps until nothing is folded any more."""
    for _ in range(1000):
        if not files(".part"):
            return
        follower.follower.step()
    raise AssertionError("folding does not end")


def fold_at(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let layers be folded that have more than this share of the file of rows."""
    monkeypatch.setattr(folding, "SHARE", share)
    monkeypatch.setattr(folding, "SLICE", 0.0)
    monkeypatch.setattr(layering, "FOLDED", 4)
