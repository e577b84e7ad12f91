"""What operators do: services on several nodes, requests, rollbacks, rolling deployments, and the command's manners."""

from __future__ import annotations

import itertools
import json
import signal

import pytest

from tests.processes.site import Site, wait_for_rows
from tests.waiting import wait_until

PERIOD = 1.0


@pytest.mark.files_only("how the next one takes over is in test_refreshing, with services as well")
def test_two_services_load_once_a_period_and_the_other_goes_on_when_one_is_killed(site: Site) -> None:
    nodes = [site.start("etcdaero_refresh", "--loop", SHOP_EVERY=str(PERIOD)) for _ in range(2)]
    site.wait_for_load(5)
    loads = site.loads()
    killed = next(node for node in nodes if node.pid == loads[-1]["pid"])
    other = next(node for node in nodes if node is not killed)
    killed.signal(signal.SIGKILL)
    before = len(site.loads())

    def loads_of_the_other() -> int:
        return [load["pid"] for load in site.loads()[before:]].count(other.pid)

    wait_until(lambda: loads_of_the_other() >= 3, 30, "three loads by the other")
    starts = [load["at"] for load in site.loads()]
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    twice = [gap for gap in gaps if gap < PERIOD / 2]
    assert len(twice) <= 1, gaps  # a load that the kill cut short is made up for at once
    other.signal(signal.SIGTERM)
    assert other.wait(10).code == 0
    assert "Traceback" not in other.errors


def test_a_running_service_answers_a_request_of_another_process(site: Site) -> None:
    reader = site.agent(SHOP_EVERY="")
    for _ in range(2):
        site.start("etcdaero_refresh", "--loop", SHOP_EVERY="")
    reader.wait_for(1)
    for version in (2, 3):
        site.rows({"a": version})
        reader.ask("request")
        reader.wait_for(version, 20)  # the second request is served 5 s after the load that the first one asked for
    assert len(site.loads()) == 3
    wait_until(lambda: site.state().request is None, what="an answered request that is gone")


def test_versions_are_compared_moved_and_pinned_by_commands(site: Site) -> None:
    reader = site.agent()
    site.publish({"a": 1, "b": 1})
    site.publish({"a": 2, "c": 1})
    reader.wait_for(2)
    lines = [json.loads(line) for line in site.run("etcdaero_diff", "prices", "--json").output.splitlines()]
    assert (lines[0]["added"], lines[0]["removed"], lines[0]["changed"]) == (1, 1, 1)
    file = str(site.directory / "prices.version")
    assert site.run("etcdaero_export", "prices", file, "1").code == 0
    imported = site.run("etcdaero_import", "prices", file, "--noinput", "--json")
    assert (imported.code, imported.results[0]["version"]) == (0, 3), imported
    reader.wait_for(3)
    assert reader.ask("read")["rows"] == {"a": 1, "b": 1}

    assert site.run("etcdaero_pin", "prices", "2", "--noinput", "--by", "anna", "--reason", "stocktaking").code == 0
    reader.wait_for(2)
    site.rows({"a": 9})
    assert site.refresh("--force")["pinned"] is True
    assert "is declared in" in site.run("etcdaero_forget", "prices", "--noinput").errors
    assert site.run("etcdaero_forget", "prices", "--noinput", "--force").code == 0
    assert site.state().pin is None
    assert reader.ask("read") == {"version": 2, "rows": {"a": 2, "c": 1}}, "what a process holds it serves"
    assert site.refresh()["outcome"] == "refreshed"
    wait_for_rows(reader, {"a": 9})


@pytest.mark.etcd_too
def test_a_rollback_holds_all_readers_on_the_old_version_until_it_is_unpinned(site: Site) -> None:
    operator, reader, late = site.agent(), site.agent(), site.agent()
    site.publish({"a": 1})
    site.publish({"a": 2})
    reader.wait_for(2)
    assert operator.ask("history") == [2, 1]
    assert operator.ask("rollback 7")["raised"] == "KeyNotFound"
    assert operator.ask("rollback 1") == 1
    for agent in (operator, reader):
        agent.wait_for(1)
        assert agent.ask("read")["rows"] == {"a": 1}

    site.rows({"a": 3})
    pinned = site.refresh("--force")
    assert (pinned["outcome"], pinned["version"], pinned["pinned"]) == ("refreshed", 3, True)
    site.rows({"a": 4})
    assert site.refresh("--force")["version"] == 4
    assert operator.ask("history")[0] == 4
    assert 1 in operator.ask("history"), "a version that readers are held on is kept"
    assert reader.ask("read") == {"version": 1, "rows": {"a": 1}}
    assert late.ask("read") == {"version": 1, "rows": {"a": 1}}
    assert "pinned to version 1" in site.run("etcdaero_status").output

    assert reader.ask("unpin") is True
    assert reader.ask("unpin") is False
    assert site.refresh()["version"] == 5, "unpinning asks for a load"
    for agent in (operator, reader):
        agent.wait_for(5)
        assert agent.ask("read")["rows"] == {"a": 4}


@pytest.mark.files_only("it is about the names of keys and records, which do not depend on the stores")
def test_old_and_new_code_refresh_and_read_lines_of_their_own(site: Site) -> None:
    old, new = {"SHOP_SCHEMA": "1"}, {"SHOP_SCHEMA": "2"}
    old_reader, new_reader = site.agent(**old), site.agent(**new, SHOP_PATIENCE="0.5")
    site.rows({"a": "old"})
    assert site.refresh(**old)["version"] == 1
    old_reader.wait_for(1)
    assert new_reader.ask("read")["raised"] == "DatasetNotReady"
    site.rows({"a": "new"})
    assert site.refresh(**new)["version"] == 1
    new_reader.wait_for(1)
    assert new_reader.ask("read")["rows"] == {"a": "new"}
    assert old_reader.ask("read")["rows"] == {"a": "old"}
    site.rows({"a": "old again"})
    assert site.refresh("--force", **old)["version"] == 2
    old_reader.wait_for(2)
    assert (site.refresh(**new)["outcome"], site.refresh(**old)["outcome"]) == ("fresh", "fresh")
    assert old_reader.ask("read")["rows"] == {"a": "old again"}
    assert new_reader.ask("read") == {"version": 1, "rows": {"a": "new"}}


@pytest.mark.files_only(
    "the command refuses wrong arguments before it opens a store, and its words do not depend on the stores"
)
@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (("nothing",), {}, "no such dataset: nothing; known: prices"),
        (("--wait", "soon"), {}, "'soon' is not a number of seconds"),
        (("--wait", "-1"), {}, "'-1' is not a number of seconds"),
        (("--loop", "--force"), {}, "--loop does not go with --force, --full, --dry-run or --wait"),
        (("--loop", "--dry-run"), {}, "--loop does not go with --force, --full, --dry-run or --wait"),
        (("--loop", "--wait", "5"), {}, "--loop does not go with --force, --full, --dry-run or --wait"),
        ((), {"SHOP_APP": "0"}, "no app declares a dataset"),
    ],
)
def test_wrong_usage_ends_with_2(
    site: Site, arguments: tuple[str, ...], environment: dict[str, str], said: str
) -> None:
    ended = site.run("etcdaero_refresh", *arguments, **environment)
    assert (ended.code, ended.output) == (2, "")
    assert said in ended.errors
    assert "Traceback" not in ended.errors
    assert not (site.directory / "kv.sqlite3").exists()


@pytest.mark.files_only(
    "the command refuses wrong arguments before it opens a store, and its words do not depend on the stores"
)
def test_each_result_is_a_line_of_json_or_of_text(site: Site) -> None:
    (result,) = site.run("etcdaero_refresh", "prices", "prices", "--json").results
    assert (result["name"], result["outcome"], result["version"], result["rows"]) == ("prices", "refreshed", 1, 3)
    assert site.run("etcdaero_refresh").output.startswith("prices: fresh: version 1; next load due ")
    assert site.run("etcdaero_refresh", "--force").output.startswith("prices: unchanged: version 1, 3 rows, ")


@pytest.mark.files_only("as a dry run writes nothing, it makes no difference what it does not write to")
@pytest.mark.parametrize("published", [True, False])
def test_a_dry_run_loads_and_writes_nothing(site: Site, published: bool) -> None:
    if published:
        site.publish()
    before = contents(site)
    site.rows({"a": "new"})
    ended = site.run("etcdaero_refresh", "--dry-run")
    assert ended.code == 0, ended
    assert ended.output.startswith("prices: dry run, nothing written: would write ")
    assert f" as version {1 + published}, 1 rows, " in ended.output
    assert contents(site) == before
    assert len(site.loads()) == 1 + published
    site.mode("none")
    ended = site.run("etcdaero_refresh", "--dry-run", "--json")
    assert (ended.code, ended.outcomes) == (1, ["failed"])
    assert contents(site) == before


def contents(site: Site) -> str:
    """Return all that is in both stores."""
    with site.kv() as kv, site.records() as records:
        keys = kv.range("", prefix=True)
        return json.dumps([repr(keys), sorted(map(repr, records.scan(site.prefix.encode())))])
