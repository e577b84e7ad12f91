"""A record server that is frozen, gone, full, or set up in the wrong way: readers serve on, refreshes say why not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.servers.site import ServerSite
from tests.processes.site import wait_for_state
from tests.records.aerospike.line import Line
from tests.records.aerospike.standin import Standin
from tests.waiting import wait_until

FIRST = {"a": 1, "b": {"price": 2}, "c": [3]}
NEW = {"a": "new"}
ALERT = {"SHOP_POLL_INTERVAL": "0.5", "SHOP_CALL_TIMEOUT": "1", "SHOP_PATIENCE": "0.5"}


@pytest.fixture
def standin() -> Iterator[Standin]:
    with Standin() as standin:
        yield standin


@pytest.fixture
def line(standin: Standin) -> Iterator[Line]:
    """The way from the processes to the server."""
    with Line((standin.host, standin.port)) as line:
        yield line


@pytest.fixture
def site(kv_url: str, line: Line, tmp_path: Path) -> Iterator[ServerSite]:
    deployed = ServerSite(tmp_path / "site", kv=kv_url, records=f"aerospike://{line.host}:{line.port}/test/shop")
    yield deployed
    deployed.close()


@pytest.mark.parametrize("fault", ["frozen", "dead", "restarted empty"])
def test_readers_serve_while_the_server_is_away_and_recover_by_themselves(
    site: ServerSite, standin: Standin, line: Line, fault: str
) -> None:
    reader = site.agent(**ALERT)
    site.publish()
    reader.wait_for(1)
    line.freeze() if fault == "frozen" else line.refuse()
    wait_for_state(reader, "INTERRUPTED")
    assert reader.ask("read") == {"version": 1, "rows": FIRST}
    newcomer = site.agent(**ALERT)
    assert newcomer.ask("read")["raised"] == "DatasetNotReady"
    for options in (("--force",), ("--force",), ()):  # the second failure holds back for long enough
        refused = site.start("etcdaero_refresh", "--json", *options, **ALERT).wait(30)
        assert (refused.code, refused.outcomes) == (1, ["failed"]) if options else (0, ["backoff"]), refused
        assert f"127.0.0.1:{line.port}" in refused.results[0]["error"]
        assert "Traceback" not in refused.errors
    wait_until(lambda: f"127.0.0.1:{line.port}" in (newcomer.ask("status")["error"] or ""), what="the reason")
    assert site.status()["datasets"][0]["version"] == 1
    assert reader.ask("read") == {"version": 1, "rows": FIRST}

    if fault == "restarted empty":
        with standin.namespace.lock:
            standin.namespace.records.clear()
    line.thaw() if fault == "frozen" else line.restore()
    wait_for_state(reader, "VALID")
    if fault != "restarted empty":
        newcomer.wait_for(1)
    assert site.publish(NEW) == 2
    for agent in (reader, newcomer):
        agent.wait_for(2)
        assert agent.ask("read")["rows"] == NEW
        wait_for_state(agent, "VALID")


def test_a_full_namespace_refuses_the_refresh_and_readers_and_newcomers_read_on(
    site: ServerSite, standin: Standin
) -> None:
    reader = site.agent(**ALERT)
    site.publish()
    reader.wait_for(1)
    standin.faults.full = True
    site.rows(NEW)
    refused = site.refresh("--force")
    assert (refused["code"], refused["outcome"]) == (1, "failed")
    assert refused["error"].startswith("StoreFull: ")
    assert site.agent().ask("read") == {"version": 1, "rows": FIRST}
    assert reader.ask("status")["state"] == "VALID"
    standin.faults.full = False
    assert site.publish() == 2
    reader.wait_for(2)


def test_without_expiry_in_the_namespace_a_refresh_says_how_to_set_it_and_readers_read_on(
    site: ServerSite, standin: Standin
) -> None:
    reader = site.agent(**ALERT)
    site.publish()
    reader.wait_for(1)
    standin.namespace.nsup_period = 0
    stored = site.stored().keys()
    site.rows(NEW)
    ended = site.run("etcdaero_refresh", "--force", "--json")
    assert (ended.code, ended.outcomes) == (1, ["failed"]), ended
    assert ended.results[0]["error"].startswith("ConfigurationError: ")
    assert "nsup-period=120" in ended.results[0]["error"]
    assert "Traceback" not in ended.errors
    assert site.stored().keys() == stored
    assert site.agent().ask("read") == {"version": 1, "rows": FIRST}
    assert reader.ask("status")["state"] == "VALID"
    standin.namespace.nsup_period = 120
    assert site.publish() == 2
    reader.wait_for(2)


def test_a_namespace_that_does_not_exist_is_named(kv_url: str, standin: Standin, tmp_path: Path) -> None:
    site = ServerSite(tmp_path / "site", kv=kv_url, records=f"aerospike://{standin.host}:{standin.port}/nonsense/shop")
    try:
        reader = site.agent(**ALERT)
        refused = site.refresh(**ALERT)
        assert (refused["code"], refused["outcome"]) == (1, "failed")
        assert "the cluster has no namespace 'nonsense'" in refused["error"]
        assert reader.ask("read")["raised"] == "DatasetNotReady"
        assert site.status()["datasets"][0]["version"] is None
    finally:
        site.close()
