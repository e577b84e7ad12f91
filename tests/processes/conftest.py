"""Running the project of this directory as processes, and looking at what they leave in the stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.site import Site


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A deployment of its own: two empty stores, a source with three rows, and processes that end with the test."""
    deployed = Site(tmp_path / "site")
    yield deployed
    deployed.close()
