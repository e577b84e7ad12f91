"""What only files can do to a deployment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A deployment of its own on files of SQLite."""
    deployed = Site(tmp_path / "site")
    yield deployed
    deployed.close()
