"""Stores that are emptied or replaced under running processes."""

from __future__ import annotations

import os
import sqlite3

import pytest

from tests.processes.site import Site, wait_for_rows
from tests.waiting import wait_until

FIRST = {"a": 1, "b": {"price": 2}, "c": [3]}
NEW = {"a": "new"}
PLANES = ("kv", "records")
IMPATIENT = {"SHOP_PATIENCE": "0.5"}


def remove(site: Site, plane: str, *, log: bool) -> None:
    """Delete the file of a store, with SQLite's files beside it or without."""
    for suffix in ("", "-wal", "-shm") if log else ("",):
        (site.directory / f"{plane}.sqlite3{suffix}").unlink(missing_ok=True)


def copy(site: Site, plane: str) -> None:
    """Make a copy of a store as it is now."""
    source = sqlite3.connect(site.directory / f"{plane}.sqlite3")
    target = sqlite3.connect(site.directory / f"{plane}.copy")
    source.backup(target)
    source.close()
    target.execute("PRAGMA journal_mode = DELETE").fetchall()
    target.close()
    os.chmod(site.directory / f"{plane}.copy", 0o600)


@pytest.mark.parametrize(
    ("planes", "log"),
    [(("kv",), False), (("records",), False), (PLANES, False), (PLANES, True)],
    ids=["kv", "records", "both", "both with their logs"],
)
def test_the_next_refresh_restores_stores_that_were_deleted(site: Site, planes: tuple[str, ...], log: bool) -> None:
    reader, newcomer = site.agent(), site.agent(**IMPATIENT)
    site.publish()
    reader.wait_for(1)
    for plane in planes:
        remove(site, plane, log=log)

    refused = newcomer.ask("read")
    assert refused["raised"] == "DatasetNotReady"
    reason = "missing" if planes == ("records",) else "no version has been published yet"
    # Between two tries the status says for a moment that the version is being loaded.
    wait_until(lambda: reason in (newcomer.ask("status")["error"] or ""), what="the reason")
    told = newcomer.ask("status")
    assert (told["version"], told["state"]) == (None, "INITIALIZING")
    wait_until(lambda: reason in newcomer.ask("read")["message"], what="the reason in the error of a read")
    assert reader.ask("read")["rows"] == FIRST

    restored = site.refresh()
    assert (restored["code"], restored["outcome"]) == (0, "refreshed")
    wait_for_rows(newcomer, FIRST)
    wait_for_rows(reader, FIRST)
    newest = site.publish(NEW)
    assert newest == restored["version"] + 1
    wait_for_rows(reader, NEW)
    wait_for_rows(newcomer, NEW)


@pytest.mark.parametrize("planes", [("kv",), PLANES], ids=["kv", "both"])
def test_readers_follow_stores_that_were_replaced_by_an_older_copy(site: Site, planes: tuple[str, ...]) -> None:
    reader, late = site.agent(), site.agent()
    site.publish()
    for plane in planes:
        copy(site, plane)
    site.publish({"a": 2})
    assert site.publish({"a": 3}) == 3
    reader.wait_for(3)
    for plane in planes:
        remove(site, plane, log=True)
        (site.directory / f"{plane}.copy").rename(site.directory / f"{plane}.sqlite3")

    assert reader.ask("read")["rows"] in (FIRST, {"a": 3})
    site.publish(NEW)
    wait_for_rows(reader, NEW)
    wait_for_rows(late, NEW)
    with site.kv() as kv:
        versions = [int(item.key.rpartition(b"/")[2]) for item in kv.range(site.layout().history(), prefix=True).kvs]
    assert versions == sorted(set(versions))


def test_a_running_service_restores_a_deleted_store_by_itself(site: Site) -> None:
    reader = site.agent(SHOP_EVERY="")
    site.start("etcdaero_refresh", "--loop", SHOP_EVERY="")
    reader.wait_for(1)
    for plane in PLANES:
        remove(site, plane, log=True)
    site.wait_for_load(2)
    site.rows(NEW)
    reader.ask("request")
    wait_for_rows(reader, NEW)


@pytest.mark.parametrize("plane", PLANES)
def test_a_store_whose_file_is_garbage_for_a_while_is_named_and_readers_serve_on(site: Site, plane: str) -> None:
    reader = site.agent(SHOP_POLL_INTERVAL="0.5")
    newcomer = site.agent(**IMPATIENT, SHOP_POLL_INTERVAL="0.5")
    site.publish()
    reader.wait_for(1)
    copy(site, plane)
    store, garbage = site.directory / f"{plane}.sqlite3", site.directory / "garbage"
    garbage.write_text("this is no database " * 500)
    garbage.chmod(0o600)
    garbage.replace(store)  # in one step: the processes make a new store where they find none
    for log in ("-wal", "-shm"):
        store.with_name(store.name + log).unlink(missing_ok=True)

    refused = site.refresh("--force")
    assert (refused["code"], refused["outcome"]) == (1, "failed")
    assert f"{plane}.sqlite3" in refused["error"]
    assert newcomer.ask("read")["raised"] == "DatasetNotReady"
    wait_until(lambda: f"{plane}.sqlite3" in (newcomer.ask("status")["error"] or ""), what="the reason")
    wait_until(lambda: reader.ask("status")["state"] == "INTERRUPTED", what="an interrupted reader")
    assert reader.ask("read") == {"version": 1, "rows": FIRST}

    (site.directory / f"{plane}.copy").rename(store)
    for agent in (reader, newcomer):
        wait_for_rows(agent, FIRST)
    assert site.publish(NEW) == 2
    for agent in (reader, newcomer):
        wait_for_rows(agent, NEW)
