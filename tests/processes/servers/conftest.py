"""What only servers can do to a deployment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.servers.site import ServerSite


@pytest.fixture
def site(kv_url: str, records_url: str, tmp_path: Path) -> Iterator[ServerSite]:
    """A deployment of its own on the servers that tests share."""
    deployed = ServerSite(tmp_path / "site", kv=kv_url, records=records_url)
    yield deployed
    deployed.close()
