"""What the checks of Aerospike make of what nodes tell, each made up so that one thing is wrong."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from django_etcdaero.doctor.aerospike import clients, cluster, facts, space, work
from django_etcdaero.doctor.aerospike.facts import Clocks
from django_etcdaero.doctor.checking import Check, NotVisible, Probe
from django_etcdaero.doctor.report import Severity
from django_etcdaero.doctor.subjects import AerospikeNamespace, Records
from django_etcdaero.exceptions import NotSupported, PermissionDenied, ResponseError
from django_etcdaero.records.aerospike import node_answers
from django_etcdaero.records.aerospike.node_answers import properties, without_refusals
from django_etcdaero.stores.aerospike import address_of
from tests.doctor.judging import judge, severities

OK, INFO, WARNING, ERROR = Severity.OK, Severity.INFO, Severity.WARNING, Severity.ERROR


def namespace(*, for_datasets: bool = True) -> AerospikeNamespace:
    address = address_of([("h", 3000)], namespace="test", set_name="records")
    records = Records(place="x", aliases=("default",), address=address, prefix="p")
    return AerospikeNamespace(
        place="y", aliases=("default",), records=records, namespace="test", for_datasets=for_datasets, sets=("records",)
    )


def nodes(*told: str) -> dict[str, dict[str, str]]:
    return {f"N{number}": properties(text) for number, text in enumerate(told, 1)}


GOOD = "cluster_size=3;cluster_key=K;cluster_integrity=true"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([GOOD] * 3, [OK]),
        (["cluster_size=1;cluster_key=K;cluster_integrity=true"], [INFO]),
        ([GOOD, GOOD], [WARNING]),
        ([GOOD, GOOD, GOOD.replace("=K", "=L")], [ERROR]),
        ([GOOD, GOOD, GOOD.replace("true", "false")], [ERROR]),
    ],
)
def test_cluster(told: list[str], expected: list[Severity]) -> None:
    assert severities(cluster.cluster, namespace(), {facts.STATISTICS: nodes(*told)}) == expected


@pytest.mark.parametrize(
    ("told", "number", "expected"),
    [
        ("effective_replication_factor=2;replication-factor=2", 3, [OK]),
        ("effective_replication_factor=1;replication-factor=2", 3, [WARNING]),
        ("effective_replication_factor=1;replication-factor=1", 3, [WARNING]),
        ("effective_replication_factor=1;replication-factor=1", 1, [INFO]),
        ("effective_replication_factor=2;replication-factor=2;dead_partitions=4", 3, [ERROR]),
        ("effective_replication_factor=2;replication-factor=2;unavailable_partitions=4", 3, [ERROR]),
    ],
)
def test_copies(told: str, number: int, expected: list[Severity]) -> None:
    brought: dict[Probe[Any], Any] = {facts.NAMESPACE: nodes(told), facts.STATISTICS: nodes(*[GOOD] * number)}
    brought[facts.SERVICE] = NotSupported("not told")
    assert severities(cluster.copies, namespace(), brought) == expected


def test_copies_that_are_not_made_when_few_nodes_are_left() -> None:
    two = "effective_replication_factor=2;replication-factor=2"
    brought: dict[Probe[Any], Any] = {facts.NAMESPACE: nodes(two), facts.STATISTICS: nodes(*[GOOD] * 3)}
    for limit, expected in (("1", OK), ("3", WARNING)):
        brought[facts.SERVICE] = nodes(f"paxos-single-replica-limit={limit}")
        assert severities(cluster.copies, namespace(), brought) == [expected]


def of_namespace(check: Check, told: str, expected: Severity) -> Any:
    return pytest.param(check, facts.NAMESPACE, nodes(told), expected, id=f"{check.id}-{told[:40]}")


@pytest.mark.parametrize(
    ("check", "probe", "brought", "expected"),
    [
        of_namespace(cluster.namespace, "objects=1", OK),
        of_namespace(cluster.namespace, "type=unknown", ERROR),
        of_namespace(cluster.consistency, "strong-consistency=false", OK),
        of_namespace(cluster.consistency, "strong-consistency=true", INFO),
        of_namespace(space.stop_writes, "stop_writes=false;hwm_breached=false", OK),
        of_namespace(space.stop_writes, "stop_writes=true", ERROR),
        of_namespace(space.stop_writes, "clock_skew_stop_writes=true", ERROR),
        of_namespace(space.stop_writes, "hwm_breached=true", WARNING),
        of_namespace(space.space, "data_avail_pct=87;data_used_pct=10", OK),
        of_namespace(space.space, "data_avail_pct=87;data_used_pct=82", WARNING),
        of_namespace(space.space, "data_avail_pct=87;data_used_pct=90", ERROR),
        of_namespace(space.space, "data_avail_pct=12;data_used_pct=40;storage-engine.stop-writes-avail-pct=5", ERROR),
        of_namespace(space.space, "device_available_pct=90;device_used_pct=3;memory_free_pct=10", ERROR),
        of_namespace(space.space, "objects=1", OK),
        of_namespace(space.expiry, "nsup-period=120;allow-ttl-without-nsup=false", OK),
        of_namespace(space.expiry, "nsup-period=0;allow-ttl-without-nsup=false", ERROR),
        of_namespace(space.expiry, "nsup-period=0;allow-ttl-without-nsup=true", WARNING),
        of_namespace(space.expiry, "nsup-period=120;nsup_cycle_deleted_pct=4.5", WARNING),
        of_namespace(space.expiry, "nsup-period=120;apply-ttl-reductions=false", WARNING),
        of_namespace(work.errors, "client_read_success=10000;client_read_error=1;client_read_timeout=1", OK),
        of_namespace(work.errors, "client_read_success=10000;client_read_error=900;client_read_timeout=1", WARNING),
        of_namespace(work.errors, "batch_sub_write_success=1000;batch_sub_write_timeout=900", WARNING),
        of_namespace(work.errors, "client_read_success=10;client_read_error=90", OK),
        of_namespace(work.refusals, "fail_record_too_big=0;fail_key_busy=0", OK),
        of_namespace(work.refusals, "fail_record_too_big=3", WARNING),
        of_namespace(work.refusals, "fail_key_busy=3", INFO),
        pytest.param(cluster.migrations, facts.STATISTICS, nodes("migrate_partitions_remaining=0"), OK),
        pytest.param(cluster.migrations, facts.STATISTICS, nodes("migrate_partitions_remaining=12"), INFO),
        pytest.param(cluster.heartbeat, facts.NETWORK, nodes("heartbeat.interval=150;heartbeat.timeout=10"), OK),
        pytest.param(cluster.heartbeat, facts.NETWORK, nodes("heartbeat.interval=1000;heartbeat.timeout=10"), WARNING),
        pytest.param(cluster.heartbeat, facts.NETWORK, nodes("heartbeat.interval=150;heartbeat.timeout=50"), WARNING),
        pytest.param(cluster.practices, facts.PRACTICES, {"N1": []}, OK),
        pytest.param(cluster.practices, facts.PRACTICES, {"N1": ["swappiness"]}, INFO),
        pytest.param(cluster.outliers, facts.OUTLIERS, {"N1": []}, OK),
        pytest.param(cluster.outliers, facts.OUTLIERS, {"N1": [{"id": "bb9", "reason": "device-latency"}]}, WARNING),
    ],
)
def test_one_fact(check: Check, probe: Probe[Any], brought: Any, expected: Severity) -> None:
    assert severities(check, namespace(), {probe: brought}) == [expected]


def test_a_lost_node_needs_room_in_the_others() -> None:
    two = nodes("data_used_pct=55;data_avail_pct=40", "data_used_pct=45;data_avail_pct=50")
    assert severities(space.space, namespace(), {facts.NAMESPACE: two}) == [WARNING]


def test_settings_that_differ_between_nodes() -> None:
    same = "nsup-period=120;rack-id=1;storage-engine.stripe[0].free_wblocks=7;objects=3"
    other = "nsup-period=120;rack-id=2;storage-engine.stripe[0].free_wblocks=9;objects=4"
    service = nodes("node-id=1;proto-fd-max=1", "node-id=2;proto-fd-max=1")
    brought: dict[Probe[Any], Any] = {facts.NAMESPACE: nodes(same, other), facts.SERVICE: service}
    assert severities(cluster.drift, namespace(), brought) == [OK]
    (finding,) = judge(cluster.drift, namespace(), brought | {facts.NAMESPACE: nodes(same, other.replace("120", "0"))})
    assert finding.severity is WARNING
    assert "nsup-period: 0, 120" in finding.seen
    (finding,) = judge(cluster.drift, namespace(), brought | {facts.SERVICE: nodes("proto-fd-max=1", "proto-fd-max=2")})
    assert finding.severity is INFO
    assert "proto-fd-max: 1, 2" in finding.seen


@pytest.mark.parametrize(("builds", "expected"), [({"a": "8.1.0.1"}, OK), ({"a": "8.1.0.1", "b": "8.1.0.3"}, WARNING)])
def test_version(builds: dict[str, str], expected: Severity) -> None:
    brought: dict[Probe[Any], Any] = {facts.BUILDS: builds, facts.EDITION: {"a": "Aerospike Community Edition"}}
    assert severities(cluster.version, namespace(), brought) == [expected]


@pytest.mark.parametrize(
    ("skew", "apart", "expected"),
    [(0.0, 0, [OK]), (2.0, 100, [OK]), (30.0, 0, [WARNING]), (0.0, 5000, [WARNING]), (0.0, 30_000, [ERROR])],
)
def test_clocks(skew: float, apart: int, expected: list[Severity]) -> None:
    brought: dict[Probe[Any], Any] = {
        facts.CLOCKS: Clocks({"N1": skew}),
        facts.STATISTICS: nodes(f"cluster_clock_skew_ms={apart}"),
    }
    assert severities(cluster.clocks, namespace(), brought) == expected


@pytest.mark.parametrize(
    ("evicted", "rows", "for_datasets", "expected"),
    [
        (0, "", True, OK),
        (5, "ns=test:set=records:disable-eviction=false;", True, WARNING),
        (5, "ns=test:set=records:disable-eviction=true;", True, INFO),
        (5, "ns=test:set=records:disable-eviction=false;", False, INFO),
    ],
)
def test_eviction(evicted: int, rows: str, for_datasets: bool, expected: Severity) -> None:
    brought: dict[Probe[Any], Any] = {
        facts.NAMESPACE: nodes(f"evicted_objects={evicted}"),
        facts.SETS: {"N1": node_answers.rows(rows)},
    }
    assert severities(space.eviction, namespace(for_datasets=for_datasets), brought) == [expected]


@pytest.mark.parametrize(
    ("row", "number", "expected"),
    [
        ("set=records:objects=5:stop-writes-count=0", 1, [OK]),
        ("set=records:objects=85:stop-writes-count=100", 1, [WARNING]),
        ("set=records:objects=100:stop-writes-count=100", 1, [ERROR]),
        ("set=records:data_used_bytes=990:stop-writes-size=1000", 1, [ERROR]),
        ("set=another:objects=100:stop-writes-count=100", 1, [OK]),
        ("set=records:objects=1", 800, [INFO]),
        ("set=records:objects=1", 1200, [WARNING]),
    ],
)
def test_sets(row: str, number: int, expected: list[Severity]) -> None:
    found = node_answers.rows(";".join([row] * number))
    assert severities(space.sets, namespace(), {facts.SETS: {"N1": found}}) == expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("{test}-read:msec,100.0,1.00,0.50,0.10,0.00,0.00;{test}-write:msec,5.0,1.0,1.0,0.5,0.1,0.0", OK),
        ("{test}-read:msec,100.0,20.0,10.0,0.10,0.00,0.00;{test}-write:", WARNING),
        ("{test}-read:msec,100.0,3.00,3.00,2.00,0.00,0.00", WARNING),
        ("{other}-read:msec,100.0,90.0,90.0,90.0,90.0,90.0;{test}-read:", OK),
        ("{test}-read:usec,100.0,90.0,90.0,90.0", OK),
    ],
)
def test_latency(told: str, expected: Severity) -> None:
    assert severities(work.latency, namespace(), {facts.LATENCIES: {"N1": told}}) == [expected]


@pytest.mark.parametrize(
    ("there", "opened", "expected"),
    [(10, 10, [OK]), (850, 900, [WARNING]), (1000, 1000, [ERROR]), (10, 900_000, [INFO])],
)
def test_connections(there: int, opened: int, expected: list[Severity]) -> None:
    brought: dict[Probe[Any], Any] = {
        facts.STATISTICS: nodes(f"client_connections={there};client_connections_opened={opened};uptime=3600"),
        facts.SERVICE: nodes("proto-fd-max=1024"),
    }
    assert severities(work.connections, namespace(), brought) == expected


class Nodes:
    """A store whose nodes answer so."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers

    def ask_nodes(self, command: str, *, timeout: float) -> dict[str, str]:
        return without_refusals(command, self.answers)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"a": "x=1", "b": "ERROR:81:role violation"}, {"a": "x=1"}),
        ({"a": "ERROR:81:role violation"}, PermissionDenied),
        ({"a": "ERROR:80:not authenticated"}, PermissionDenied),
        ({"a": "ERROR:4:unrecognized command"}, NotSupported),
        ({"a": "FAIL:4:bad parameter"}, NotSupported),
        ({"a": "ERROR::enterprise only"}, NotSupported),
        ({"a": "FAIL"}, ResponseError),
        ({"a": "failed_best_practices=none"}, {"a": "failed_best_practices=none"}),
    ],
)
def test_refusals_of_nodes(answers: dict[str, str], expected: Any) -> None:
    if isinstance(expected, dict):
        assert without_refusals("statistics", answers) == expected
    else:
        with pytest.raises(expected):
            without_refusals("statistics", answers)


def test_what_all_nodes_refuse_is_not_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AerospikeNamespace, "store", lambda subject: Nodes(a="FAIL"))
    with pytest.raises(NotVisible, match="refuse 'statistics'"):
        facts.ask(namespace(), "statistics", 1)


def test_nodes_that_tell_nothing_are_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AerospikeNamespace, "store", lambda subject: Nodes(a=""))
    with pytest.raises(NotVisible):
        facts.STATISTICS.ask(namespace(), 1)
    with pytest.raises(NotVisible):
        facts.CLOCKS.ask(namespace(), 1)


def test_clients_that_are_connected() -> None:
    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    assert clients.agent(encoded("1,python-19.3.0,shop")) == "python-19.3.0 (shop)"
    assert clients.agent(encoded("1,go-8.1.0,not-set")) == "go-8.1.0"
    for odd in ("", "?", encoded("1"), encoded("1,\x1b[31m,x")):
        assert clients.agent(odd) == "unknown"
    one = {"python-19.3.0 (shop)": 40, "go-8.1.0": 2}
    (finding,) = judge(clients.clients, namespace(), {clients.AGENTS: one})
    assert (finding.severity, finding.seen) == (OK, "python-19.3.0 (shop): 40, go-8.1.0: 2")
    assert severities(clients.clients, namespace(), {clients.AGENTS: one | {"python-18.0.0": 1}}) == [INFO]
    for failure, expected in (
        (NotSupported("x"), Severity.NOT_APPLICABLE),
        (PermissionDenied("x"), Severity.NOT_PERMITTED),
    ):
        assert severities(clients.clients, namespace(), {clients.AGENTS: failure}) == [expected]


def test_a_truncation_that_runs() -> None:
    brought: dict[Probe[Any], Any] = {facts.NAMESPACE: nodes("truncating=false"), facts.SETS: {"N1": []}}
    assert severities(space.truncation, namespace(), brought) == [OK]
    for changed in ({facts.NAMESPACE: nodes("truncating=true")}, {facts.SETS: {"N1": [{"truncating": "true"}]}}):
        assert severities(space.truncation, namespace(), brought | changed) == [INFO]


def test_records_of_a_cache_that_never_expire() -> None:
    told = {facts.NAMESPACE: nodes("nsup-period=120;objects=4000;non_expirable_objects=3000")}
    assert severities(space.expiry, namespace(for_datasets=False), told) == [INFO]
    assert severities(space.expiry, namespace(), told) == [OK]


def test_writes_that_came_second() -> None:
    for told, expected in (("fail_generation=5", OK), ("fail_generation=5000;client_write_success=20000", INFO)):
        assert severities(work.refusals, namespace(), {facts.NAMESPACE: nodes(told)}) == [expected]
