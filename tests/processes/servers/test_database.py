"""KV on etcd and RECORDS in a database of the project: several hosts without an Aerospike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.servers.site import ServerSite
from tests.processes.site import wait_for_rows, wait_for_state
from tests.processes.test_forking import (
    test_a_process_with_a_reader_may_fork_at_any_moment,  # noqa: F401
)
from tests.processes.test_operating import (
    test_a_rollback_holds_all_readers_on_the_old_version_until_it_is_unpinned,  # noqa: F401
)
from tests.processes.test_servers import (
    test_all_workers_of_gunicorn_follow_a_respawned_one_too_and_stop_at_once as _workers_of_gunicorn_follow,
)
from tests.records.database.serving import PostgreSQLServer, alias
from tests.waiting import wait_until

ALIAS = "of the shop"
REFRESH_IN_A_TRANSACTION = f"""
from django.db import connections, transaction
from shop.datasets import prices

with transaction.atomic(using={ALIAS!r}):
    connections[{ALIAS!r}].cursor().execute("CREATE TABLE undone (id int)")
    assert prices.refresh(force=True, allow_in_atomic=True).ok
    transaction.set_rollback(True, using={ALIAS!r})
"""


def _site(server: PostgreSQLServer, database: str, kv_url: str, directory: Path) -> Iterator[ServerSite]:
    server.ask(f'CREATE DATABASE "{database}"')
    settings = server.settings(database)
    with alias(ALIAS, settings):
        deployed = ServerSite(directory, kv=kv_url, records="db:of%20the%20shop")
        deployed.whole_environment["SHOP_DATABASES"] = json.dumps({"default": {}, ALIAS: settings})
        migrated = deployed.run("migrate", "django_etcdaero", "--database", ALIAS)
        assert migrated.code == 0, migrated
        yield deployed
        deployed.close()


@pytest.fixture
def site(
    kv_url: str, postgresql_server: PostgreSQLServer, databases_allowed: None, tmp_path: Path
) -> Iterator[ServerSite]:
    yield from _site(postgresql_server, tmp_path.name, kv_url, tmp_path / "site")


@pytest.fixture
def own_postgresql_server() -> Iterator[PostgreSQLServer]:
    with PostgreSQLServer().running() as server:
        yield server


@pytest.fixture
def endangered(
    kv_url: str, own_postgresql_server: PostgreSQLServer, databases_allowed: None, tmp_path: Path
) -> Iterator[ServerSite]:
    yield from _site(own_postgresql_server, "endangered", kv_url, tmp_path / "site")


def test_workers_of_gunicorn_have_connections_of_their_own(site: ServerSite) -> None:
    """Also of a parent that has read before it forks them."""
    _workers_of_gunicorn_follow(site, "preload and read")


def test_a_refresh_is_no_part_of_a_transaction_on_the_same_database(
    site: ServerSite, postgresql_server: PostgreSQLServer, tmp_path: Path
) -> None:
    reader = site.agent()
    site.publish()
    reader.wait_for(1)
    site.rows({"a": "of a transaction"})
    ended = site.run("shell", "-c", REFRESH_IN_A_TRANSACTION)
    assert ended.code == 0, ended
    reader.wait_for(2)
    wait_for_rows(reader, {"a": "of a transaction"})
    assert postgresql_server.ask("SELECT to_regclass('undone')", tmp_path.name) == [(None,)]
    fresh = site.agent()
    assert fresh.ask("read")["rows"] == {"a": "of a transaction"}


def test_without_the_table_a_refresh_says_how_to_make_it(site: ServerSite) -> None:
    assert site.run("migrate", "django_etcdaero", "zero", "--database", ALIAS).code == 0
    result = site.refresh()
    assert (result["code"], result["outcome"]) == (1, "failed")
    assert f"migrate django_etcdaero --database={ALIAS}" in result["error"]


def test_readers_serve_on_while_the_database_is_away_and_go_on_by_themselves(
    endangered: ServerSite, own_postgresql_server: PostgreSQLServer
) -> None:
    reader = endangered.agent(SHOP_POLL_INTERVAL="0.5", SHOP_CALL_TIMEOUT="1")
    endangered.publish({"a": 1})
    wait_for_rows(reader, {"a": 1})
    own_postgresql_server.stop()
    wait_for_state(reader, "INTERRUPTED")
    assert reader.ask("read")["rows"] == {"a": 1}
    assert endangered.refresh("--force")["outcome"] == "failed"
    own_postgresql_server.start()
    wait_until(lambda: endangered.refresh("--force")["outcome"] in ("refreshed", "unchanged"), 60, "a refresh")
    endangered.publish({"a": 2})
    wait_for_rows(reader, {"a": 2})
