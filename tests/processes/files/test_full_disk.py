"""Processes that start while the disk of both stores is full, and are the first to open them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.full_disk import SmallDisk, limit_files, small_disk, unlimit_files
from tests.processes.site import Agent, Site, wait_for_rows
from tests.waiting import wait_until

ROWS = {"a": 1, "b": {"price": 2}, "c": [3]}
NEW = {"a": "new"}


class Limited:
    """No room: a limit to what each process may write, which takes no rights to set."""

    def __init__(self, directory: Path) -> None:
        self.site = Site(directory / "site")

    def fill(self) -> None:
        pass

    def make_room(self, *agents: Agent) -> None:
        for agent in agents:
            unlimit_files(agent.pid)

    def agent(self) -> Agent:
        agent = self.site.agent(PYTHONDONTWRITEBYTECODE="1")
        limit_files(agent.pid)
        return agent


class Full:
    """No room: a full file system under both stores."""

    def __init__(self, directory: Path, disk: SmallDisk) -> None:
        stores = {name: f"sqlite:///{disk.directory}/{name}.sqlite3" for name in ("kv", "records")}
        self.site = Site(directory / "site", **stores)
        self.fill = disk.fill
        self._disk = disk

    def make_room(self, *agents: Agent) -> None:
        self._disk.make_room()

    def agent(self) -> Agent:
        return self.site.agent()


@pytest.fixture(params=["limit", "disk"])
def deployed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Limited | Full]:
    if request.param == "limit":
        limited = Limited(tmp_path)
        yield limited
        limited.site.close()
        return
    with small_disk(tmp_path / "disk") as disk:
        full = Full(tmp_path, disk)
        yield full
        full.site.close()


def test_processes_that_start_on_a_full_disk_read_and_go_on(deployed: Limited | Full) -> None:
    site = deployed.site
    first_version = site.publish()
    assert not list(Path(site.urls["KV"].removeprefix("sqlite:///")).parent.glob("*-shm"))
    deployed.fill()
    agents = [deployed.agent() for _ in range(2)]
    for agent in agents:
        assert agent.ask("read") == {"version": first_version, "rows": ROWS}
        assert agent.ask("status")["state"] == "VALID"
    refused = agents[0].ask("refresh")
    assert (refused["outcome"], "StoreFull" in refused["error"]) == ("failed", True)
    assert agents[1].ask("read")["rows"] == ROWS
    assert site.status()["datasets"]

    deployed.make_room(*agents)
    site.rows(NEW)
    assert agents[0].ask("refresh")["outcome"] == "refreshed"
    for agent in agents:
        wait_for_rows(agent, NEW)
    wait_until(lambda: len(site.registered()) == 2, what="both processes registered")
