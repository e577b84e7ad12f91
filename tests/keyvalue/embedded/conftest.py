"""Engines for what only the embedded one promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from django_etcdaero.keyvalue import Engine
from tests.keyvalue.conftest import EMBEDDED


@pytest.fixture(params=EMBEDDED)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An embedded engine, each kind in turn."""
    yield from EMBEDDED[request.param](tmp_path)
