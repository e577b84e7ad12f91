"""A host whose datasets may be shared."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.datasets.hosting import FakeHost, Following, follow


@pytest.fixture
def shared_dir(tmp_path: Path, host: FakeHost) -> Path:
    """Where the files are."""
    alias = host.aliases["default"]
    directory = tmp_path / "shared"
    alias.stores = dataclasses.replace(alias.stores, shared_dir=str(directory))
    return directory


@pytest.fixture
def following(host: FakeHost, shared_dir: Path) -> Iterator[Callable[..., Following]]:
    """What follows a dataset a step at a time, as one of the processes of the host."""
    made: list[Following] = []

    def make(dataset: Any, **options: Any) -> Following:
        made.append(follow(dataset, host, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def files(shared_dir: Path) -> Callable[[str], list[Path]]:
    """The files with a name that ends so: ``files(".rows")``."""
    return lambda ending: sorted(path for path in shared_dir.rglob("*") if path.name.endswith(ending))


def is_mapped(path: Path) -> bool:
    """Tell whether this process maps a file, which may have been removed."""
    name = os.path.realpath(path)
    lines = Path("/proc/self/maps").read_text().splitlines()
    return any(line.removesuffix(" (deleted)").endswith(name) for line in lines)
