"""Stores on servers that are emptied, or set back to an earlier state, under running processes.

Of ``tests/processes/files/test_lost_stores.py`` there is no counterpart here of a store whose file is garbage. Servers
that are away are in the modules on outages.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.keyvalue.etcd.servers import Server
from tests.processes.servers.site import ServerSite
from tests.processes.site import Site, wait_for_rows
from tests.waiting import wait_until

FIRST = {"a": 1, "b": {"price": 2}, "c": [3]}
NEW = {"a": "new"}
PLANES = ("kv", "records")
IMPATIENT = {"SHOP_PATIENCE": "0.5"}


def empty(site: Site, plane: str) -> None:
    """Delete all keys of the deployment, or truncate the set."""
    with site.kv() as kv, site.records() as records:
        if plane == "kv":
            kv.delete_range("", prefix=True, everything=True)
        else:
            records.truncate()


@pytest.mark.parametrize("planes", [("kv",), ("records",), PLANES], ids="-".join)
def test_the_next_refresh_restores_stores_that_were_emptied(site: ServerSite, planes: tuple[str, ...]) -> None:
    reader, newcomer = site.agent(), site.agent(**IMPATIENT)
    site.publish()
    reader.wait_for(1)
    for plane in planes:
        empty(site, plane)

    refused = newcomer.ask("read")
    assert refused["raised"] == "DatasetNotReady"
    reason = "missing" if planes == ("records",) else "no version has been published yet"
    wait_until(lambda: reason in (newcomer.ask("status")["error"] or ""), what="the reason")
    assert newcomer.ask("status")["state"] == "INITIALIZING"
    assert reader.ask("read")["rows"] == FIRST

    restored = site.refresh()
    assert (restored["code"], restored["outcome"]) == (0, "refreshed")
    wait_for_rows(newcomer, FIRST)
    wait_for_rows(reader, FIRST)
    assert site.publish(NEW) == restored["version"] + 1
    wait_for_rows(reader, NEW)
    wait_for_rows(newcomer, NEW)


def test_a_running_service_restores_emptied_stores_by_itself(site: ServerSite) -> None:
    reader = site.agent(SHOP_EVERY="1")
    site.start("etcdaero_refresh", "--loop", SHOP_EVERY="1")
    reader.wait_for(1)
    for plane in PLANES:
        empty(site, plane)
    site.rows(NEW)
    wait_for_rows(reader, NEW)
    wait_for_rows(site.agent(), NEW)


@pytest.mark.parametrize("backup", [True, False], ids=["older state", "nothing"])
def test_readers_follow_an_etcd_that_was_set_back(
    server: Server, records_url: str, tmp_path: Path, backup: bool
) -> None:
    site = ServerSite(tmp_path / "site", kv=f"etcd://{server.endpoint}", records=records_url)
    try:
        reader, late = site.agent(SHOP_POLL_INTERVAL="1"), site.agent(SHOP_POLL_INTERVAL="1")
        site.publish()
        server.kill()
        shutil.copytree(server.directory / "data", tmp_path / "backup")
        server.start()
        server.wait_ready()
        site.publish({"a": 2})
        assert site.publish({"a": 3}) == 3
        reader.wait_for(3)

        server.kill()
        server.wipe()
        if backup:
            shutil.copytree(tmp_path / "backup", server.directory / "data")
        server.start()
        server.wait_ready()
        assert reader.ask("read")["rows"] in ((FIRST, {"a": 3}) if backup else ({"a": 3},))
        assert site.publish(NEW) == 4
        wait_for_rows(reader, NEW)
        wait_for_rows(late, NEW)
        site.publish({"a": 5})
        wait_for_rows(reader, {"a": 5})
    finally:
        site.close()
