"""Programs that are started while neither server is there: they start at once, and recover when the servers come."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.keyvalue.etcd.servers import Server
from tests.processes.servers.site import ServerSite
from tests.processes.site import free_port
from tests.processes.test_servers import page
from tests.records.aerospike.line import Line
from tests.records.aerospike.standin import Standin
from tests.waiting import wait_until

ALERT = {"SHOP_POLL_INTERVAL": "0.5", "SHOP_CALL_TIMEOUT": "1", "SHOP_PATIENCE": "0.5"}


@pytest.fixture
def line() -> Iterator[Line]:
    """The way to a record server, closed."""
    with Standin() as standin, Line((standin.host, standin.port)) as line:
        line.refuse()
        yield line


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """An etcd server that has not been started."""
    server = Server("late", tmp_path / "etcd")
    yield server
    server.kill()


def answers_with(port: int) -> int:
    """Return the HTTP status of the page, 0 when nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


@pytest.fixture
def site(server: Server, line: Line, tmp_path: Path) -> Iterator[ServerSite]:
    records = f"aerospike://{line.host}:{line.port}/test/shop"
    deployed = ServerSite(tmp_path / "site", kv=f"etcd://{server.endpoint}", records=records)
    yield deployed
    deployed.close()


def test_everything_starts_without_the_servers_says_what_it_misses_and_recovers(
    site: ServerSite, server: Server, line: Line
) -> None:
    ports = [free_port() for _ in range(3)]
    bound = [f"127.0.0.1:{port}" for port in ports]
    checking = site.start("check")
    migrating = site.start("migrate", "--verbosity", "0", SHOP_DATABASE="1")
    web = [
        site.start("-m", "gunicorn", "wsgi", "--bind", bound[0], "--workers", "2", "--preload", **ALERT),
        site.start("-m", "gunicorn", "wsgi", "--bind", bound[1], "--workers", "2", **ALERT),
        site.start("runserver", bound[2], "--noreload", **ALERT),
    ]
    service = site.start("etcdaero_refresh", "--loop", "--json", **ALERT)
    for ended in (checking.wait(30), migrating.wait(30)):
        assert (ended.code, ended.errors) == (0, ""), ended
    assert "no issues" in checking.output
    for port in ports:
        wait_until(lambda port=port: answers_with(port) == 500, 30, "an answer")  # type: ignore[misc]
    for each in web:
        wait_until(lambda each=each: "dataset prices: load failed: " in each.errors, what="a word")  # type: ignore[misc]
        said = next(text for text in each.errors.splitlines() if "dataset prices: load failed: " in text)
        assert server.endpoint in said
        assert f"no node can be reached: 127.0.0.1:{line.port}: Connection refused" in said
    refused = site.refresh("--force", **ALERT)
    assert (refused["code"], refused["outcome"]) == (1, "failed")
    assert server.endpoint in refused["error"]
    assert site.loads() == []

    line.restore()
    server.start()
    server.wait_ready()
    for port in ports:
        wait_until(lambda port=port: (page(port) or {}).get("version") == 1, 60, "the page")  # type: ignore[misc]
    assert service.running
    assert len(site.loads()) == 1
