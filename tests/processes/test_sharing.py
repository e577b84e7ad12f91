"""Processes of a host that read one file."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.processes.site import Site, free_port, wait_for_rows, wait_for_state
from tests.waiting import wait_until

pytestmark = pytest.mark.files_only("the files are those of a host, whatever its stores are")

ROWS = {str(number): {"number": number} for number in range(200)}


def files(site: Site, ending: str = ".rows") -> list[Path]:
    return sorted((site.directory / ".etcdaero").rglob(f"*{ending}"))


def mapped_by(pid: int) -> set[int]:
    """Return the inodes of the files of rows that a process maps."""
    maps = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    return {int(fields[4]) for fields in maps if len(fields) > 5 and fields[5].endswith(".rows")}


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_all_processes_of_a_host_map_one_file_and_leave_none_behind(site: Site) -> None:
    agents = [site.agent(SHOP_SHARED="1") for _ in range(3)]
    for number, rows in enumerate((ROWS, {**ROWS, "new": 1}), 1):
        assert site.publish(rows) == number
        for agent in agents:
            wait_for_rows(agent, rows)
        wait_until(lambda: len(files(site)) == 1, what="one file")
        inode = files(site)[0].stat().st_ino
        assert all(mapped_by(agent.pid) == {inode} for agent in agents)
    assert files(site, ".part") == []
    assert agents[0].ask("fork 3") == {"codes": [0, 0, 0], "problems": [], "hanging": False}


def test_a_process_that_is_killed_while_it_makes_the_file_is_in_nobodys_way(site: Site) -> None:
    site.publish(ROWS)
    killed = site.agent(SHOP_SHARED="1", SHOP_STOP="build")
    assert killed.ask("status")["version"] is None  # which sets its reader going
    wait_until(lambda: stopped(killed.pid), what="a process that has stopped while it makes the file")
    (left,) = files(site, ".part")
    os.kill(killed.pid, signal.SIGKILL)
    reader = site.agent(SHOP_SHARED="1")
    wait_for_rows(reader, ROWS)
    wait_until(lambda: not left.exists(), what="nothing that is left")
    assert len(files(site)) == 1


def test_only_one_process_of_the_host_fetches_a_change(site: Site, tmp_path: Path) -> None:
    noted = tmp_path / "fetches"
    rows = {str(number): {"number": number, "text": "x" * 40} for number in range(2000)}
    site.publish(rows)
    options = {"SHOP_SHARED": "1", "SHOP_LAYERS": "1", "SHOP_FETCHES": str(noted)}
    agents = [site.agent(**options) for _ in range(4)]
    for agent in agents:
        wait_for_rows(agent, rows)
    for number in range(3):
        noted.write_text("")
        rows = {**rows, "7": {"number": -number}, f"new {number}": {}}
        site.publish(rows)
        for agent in agents:
            wait_for_rows(agent, rows)
        fetches = [tuple(map(int, line.split())) for line in noted.read_text().splitlines()]
        assert len({pid for pid, _ in fetches}) == 1
        assert sum(records for _, records in fetches) <= 6  # two roots, a page, blocks of two rows
    assert files(site, ".changes")
    assert len(files(site)) == 1


def test_a_process_that_is_killed_while_it_makes_a_layer_is_in_nobodys_way(site: Site) -> None:
    rows = {str(number): {"number": number, "text": "x" * 40} for number in range(2000)}
    site.publish(rows)
    maker = site.agent(SHOP_SHARED="1", SHOP_LAYERS="1")
    wait_for_rows(maker, rows)
    killed = site.agent(SHOP_SHARED="1", SHOP_LAYERS="1", SHOP_STOP="build")
    wait_for_rows(killed, rows)  # it makes no file for that
    os.kill(maker.pid, signal.SIGKILL)
    site.publish({**rows, "7": {}})
    wait_until(lambda: stopped(killed.pid), what="a process that has stopped while it makes the layer")
    (left,) = files(site, ".part")
    os.kill(killed.pid, signal.SIGKILL)
    reader = site.agent(SHOP_SHARED="1", SHOP_LAYERS="1")
    wait_for_rows(reader, {**rows, "7": {}})
    wait_until(lambda: not left.exists(), what="nothing that is left")
    assert len(files(site, ".changes")) == 1


def test_a_process_starts_from_the_file_while_both_stores_are_away(site: Site) -> None:
    site.publish(ROWS)
    wait_for_rows(site.agent(SHOP_SHARED="1"), ROWS)
    wait_until(lambda: files(site, "newest.json"), what="the note of the version in use")
    away = {
        "SHOP_KV": f"etcd://127.0.0.1:{free_port()}",
        "SHOP_RECORDS": f"aerospike://127.0.0.1:{free_port()}/test/shop",
        "SHOP_CALL_TIMEOUT": "0.5",
    }
    alone = site.agent(SHOP_SHARED="1", **away)
    assert alone.ask("read") == {"version": 1, "rows": ROWS}
    wait_for_state(alone, "INTERRUPTED")
    assert "version 1 is that of a file of this host" in alone.ask("status")["error"]
