"""What the checks of etcd make of facts, each made up so that one thing is wrong."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from django_etcdaero.doctor.checking import NotVisible, Probe
from django_etcdaero.doctor.etcd import facts, growth, history, members, metrics, safety, size, work
from django_etcdaero.doctor.etcd.metrics import Metrics
from django_etcdaero.doctor.report import Severity
from django_etcdaero.doctor.subjects import EtcdCluster
from django_etcdaero.exceptions import ClusterError, PermissionDenied
from django_etcdaero.inspection.key_reach import Reach
from django_etcdaero.keyvalue.administration import (
    Alarm,
    AlarmType,
    AuthStatus,
    EndpointHealth,
    EndpointStatus,
    HashKV,
    Member,
    MemberStatus,
)
from django_etcdaero.stores.credentials import Credentials, Tls
from django_etcdaero.stores.endpoint import Endpoint
from django_etcdaero.stores.etcd import EtcdAddress, address_of
from tests.doctor.judging import judge, severities

OK, INFO, WARNING, ERROR = Severity.OK, Severity.INFO, Severity.WARNING, Severity.ERROR
MB, GB = 1 << 20, 1 << 30
STATUS = MemberStatus(
    endpoint="a:1",
    member_id=1,
    cluster_id=9,
    version="3.5.12",
    leader=1,
    is_learner=False,
    revision=100,
    db_size=100 * MB,
    db_size_in_use=90 * MB,
    raft_term=2,
    raft_index=1000,
    raft_applied_index=1000,
    errors=(),
)
HEALTHY = EndpointHealth("a:1", True, True, True, False, 0.01, "")
MEMBER = Member(1, "m1", ("http://a:2",), ("http://a:1",), False)


def cluster(address: EtcdAddress | None = None) -> EtcdCluster:
    return EtcdCluster(place="x", aliases=("default",), address=address or address_of(["10.0.0.1:1"]), prefix="p/")


def statuses(*changes: dict[str, Any]) -> tuple[EndpointStatus, ...]:
    found = []
    for number, each in enumerate(changes, 1):
        status = replace(STATUS, **({"endpoint": f"{'abcdefgh'[number - 1]}:1", "member_id": number} | each))
        found.append(EndpointStatus(status.endpoint, status, ""))
    return tuple(found)


def told(text: str = "", **more: Any) -> dict[str, Metrics]:
    return {"a:1": Metrics(metrics.parse(text), **more)}


# --- size ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "quota", "expected"),
    [(100 * MB, 2 * GB, OK), (1800 * MB, 2 * GB, WARNING), (2000 * MB, 2 * GB, ERROR), (100 * MB, 16 * GB, INFO)],
)
@pytest.mark.parametrize("from_metrics", [False, True])
def test_quota(used: int, quota: int, expected: Severity, from_metrics: bool) -> None:
    brought: dict[Probe[Any], Any] = {
        facts.STATUSES: statuses({"db_size": used, "db_size_quota": 0 if from_metrics else quota}),
        facts.METRICS: told(f"etcd_server_quota_backend_bytes {quota}") if from_metrics else NotVisible("closed"),
    }
    assert severities(size.quota, cluster(), brought) == [expected]


def test_a_quota_that_nobody_tells_is_not_visible() -> None:
    brought: dict[Probe[Any], Any] = {facts.STATUSES: statuses({}), facts.METRICS: NotVisible("/metrics is closed")}
    (finding,) = judge(size.quota, cluster(), brought)
    assert finding.severity is Severity.NOT_VISIBLE
    assert "a:1: 100 MiB" in finding.seen
    assert "/metrics is closed" in finding.seen


def test_alarms() -> None:
    raised = (Alarm(1, AlarmType.NOSPACE), Alarm(77, AlarmType.CORRUPT))
    found = judge(size.alarms, cluster(), {facts.ALARMS: raised, facts.STATUSES: statuses({})})
    assert [each.severity for each in found] == [ERROR, ERROR]
    assert "etcdctl --endpoints=a:1 alarm disarm" in found[0].remedy
    assert "compact" in found[0].remedy
    assert "member remove 4d" in found[1].remedy
    assert severities(size.alarms, cluster(), {facts.ALARMS: (), facts.STATUSES: ClusterError("x")}) == [OK]
    brought: dict[Probe[Any], Any] = {facts.ALARMS: PermissionDenied("no"), facts.STATUSES: ()}
    assert severities(size.alarms, cluster(), brought) == [Severity.NOT_PERMITTED]


@pytest.mark.parametrize(
    ("file", "used", "expected"),
    [(200 * MB, 150 * MB, OK), (200 * MB, 50 * MB, WARNING), (20 * MB, 1 * MB, OK), (200 * MB, 0, OK)],
)
def test_fragmentation(file: int, used: int, expected: Severity) -> None:
    brought: dict[Probe[Any], Any] = {facts.STATUSES: statuses({"db_size": file, "db_size_in_use": used})}
    assert severities(size.fragmentation, cluster(), brought) == [expected]


def test_the_leader_is_defragmented_last() -> None:
    bad = {"db_size": 200 * MB, "db_size_in_use": 10 * MB}
    found = judge(size.fragmentation, cluster(), {facts.STATUSES: statuses(bad, bad)})
    assert [each.seen[:3] for each in found] == ["b:1", "a:1"]
    assert "it is the leader" in found[1].remedy


# --- members ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        ((HEALTHY,), OK),
        ((replace(HEALTHY, latency=0.5),), WARNING),
        ((HEALTHY, EndpointHealth("b:1", False, False, False, False, None, "refused")), WARNING),
        ((replace(HEALTHY, serves_reads=False, has_leader=False, error="no leader"),), ERROR),
        ((EndpointHealth("b:1", False, False, False, False, None, "refused"),), ERROR),
        (ClusterError("no endpoint answers"), ERROR),
        (PermissionDenied("no"), Severity.NOT_PERMITTED),
    ],
)
def test_reachable(health: Any, expected: Severity) -> None:
    assert severities(members.reachable, cluster(), {facts.HEALTH: health}) == [expected]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (statuses({}, {}), [OK]),
        (statuses({}, {"leader": 0}), [ERROR]),
        (statuses({}, {"leader": 2}), [WARNING]),
    ],
)
def test_leader(seen: Any, expected: list[Severity]) -> None:
    assert severities(members.leader, cluster(), {facts.STATUSES: seen}) == expected


@pytest.mark.parametrize(
    ("number", "changes", "expected"),
    [
        (1, {}, [INFO]),
        (2, {}, [WARNING]),
        (3, {}, [OK]),
        (9, {}, [WARNING]),
        (3, {"name": ""}, [WARNING]),
        (4, {"is_learner": True}, [INFO]),
    ],
)
def test_members(number: int, changes: dict[str, Any], expected: list[Severity]) -> None:
    found = [replace(MEMBER, id=each, name=f"m{each}") for each in range(number)]
    found[0] = replace(found[0], **changes)
    assert severities(members.members, cluster(), {facts.MEMBERS: tuple(found)}) == expected


@pytest.mark.parametrize(
    ("named", "advertised", "expected"),
    [
        (1, {}, [OK]),
        (3, {"b:1": "", "c:1": ""}, [WARNING]),
        (1, {"172.16.0.1:2379": "no route"}, [INFO]),
    ],
)
def test_endpoints(named: int, advertised: dict[str, str], expected: list[Severity]) -> None:
    brought: dict[Probe[Any], Any] = {facts.MEMBERS: (MEMBER,) * named, facts.ADVERTISED: advertised}
    found = judge(members.endpoints, cluster(), brought)
    assert [each.severity for each in found] == expected
    if expected == [WARNING]:
        assert "10.0.0.1:1,b:1,c:1" in found[0].remedy
        synced = cluster(address_of(["10.0.0.1:1"], sync_members=60))
        assert severities(members.endpoints, synced, brought) == [OK]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (statuses({}, {"raft_applied_index": 900}), [OK]),
        (statuses({"raft_index": 9000, "raft_applied_index": 9000}, {"raft_index": 100}), [WARNING]),
        (statuses({"raft_index": 9000, "raft_applied_index": 100}), [WARNING]),
    ],
)
def test_lag(seen: Any, expected: list[Severity]) -> None:
    assert severities(members.lag, cluster(), {facts.STATUSES: seen}) == expected


# --- safety ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (["3.5.12"], [OK]),
        (["3.4.31"], [OK]),
        (["3.6.1"], [OK]),
        (["3.7.0-rc.0"], [OK]),
        (["3.5.0"], [ERROR]),
        (["3.5.1"], [ERROR]),
        (["3.5.2"], [ERROR]),
        (["3.5.3"], [WARNING]),
        (["3.5.5"], [WARNING]),
        (["3.5.6"], [OK]),
        (["3.5.2", "3.5.3"], [ERROR, WARNING, WARNING]),
        (["3.3.27"], [WARNING]),
        (["3.5.12", "3.5.13"], [WARNING]),
    ],
)
def test_version(versions: list[str], expected: list[Severity]) -> None:
    seen = statuses(*({"version": each} for each in versions))
    found = judge(safety.version, cluster(), {facts.STATUSES: seen})
    assert [each.severity for each in found] == expected
    if ERROR in expected:
        assert "3.5.6" in found[0].remedy
        assert "its data differs from that of the others" in found[0].why


@pytest.mark.parametrize(
    ("hashes", "expected"),
    [
        (((1, 5), (1, 5), (1, 5)), [OK]),
        (((1, 5), (1, 5), (2, 5)), [ERROR]),
        (((1, 5), (2, 6)), [INFO]),
    ],
)
def test_divergence(hashes: Any, expected: list[Severity]) -> None:
    found = tuple(HashKV(f"{'abc'[number]}:1", number, *each) for number, each in enumerate(hashes))
    assert severities(safety.divergence, cluster(), {facts.HASHES: found}) == expected


@pytest.mark.parametrize(
    ("address", "enabled", "expected"),
    [
        (address_of(["10.0.0.1:1"]), False, WARNING),
        (address_of(["10.0.0.1:1"]), True, OK),
        (address_of(["127.0.0.1:1", "localhost:2"]), False, INFO),
        (address_of(["10.0.0.1:1"], tls=Tls(ca="x")), False, WARNING),
        (address_of(["10.0.0.1:1"], tls=Tls(cert="x", key="y")), False, INFO),
    ],
)
def test_auth(address: EtcdAddress, enabled: bool, expected: Severity) -> None:
    assert severities(safety.auth, cluster(address), {facts.AUTH: AuthStatus(enabled, 1)}) == [expected]
    assert severities(safety.auth, cluster(address), {facts.AUTH: PermissionDenied("no")}) == [OK]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (address_of(["127.0.0.1:1"], user="u", password="p"), OK),
        (address_of(["10.0.0.1:1"]), INFO),
        (address_of(["10.0.0.1:1"], user="u", password="p"), WARNING),
        (address_of(["10.0.0.1:1"], user="u", password="p", tls=Tls()), OK),
    ],
)
def test_encryption(address: EtcdAddress, expected: Severity) -> None:
    assert severities(safety.encryption, cluster(address), {}) == [expected]
    assert address.credentials in (None, Credentials("u", "p"))


@pytest.mark.parametrize(("skew", "expected"), [(0.0, OK), (-3.0, OK), (60.0, WARNING), (-60.0, WARNING), (None, OK)])
def test_clock(skew: float | None, expected: Severity) -> None:
    assert severities(safety.clock, cluster(), {facts.METRICS: told(skew=skew)}) == [expected]


# --- history ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "expected", "reach"),
    [
        (Reach(oldest=1, newest=500), OK, OK),
        (Reach(oldest=1, newest=50_000), WARNING, OK),
        (Reach(oldest=2, newest=9_000_000), WARNING, OK),
        (Reach(oldest=8_999_000, newest=9_000_000), OK, OK),
        (Reach(oldest=8_999_999, newest=9_000_000), OK, INFO),
    ],
)
def test_history(seen: Reach, expected: Severity, reach: Severity) -> None:
    assert severities(history.compaction, cluster(), {facts.HISTORY: seen}) == [expected]
    assert severities(history.reach, cluster(), {facts.HISTORY: seen}) == [reach]


# --- work ------------------------------------------------------------------------------------------------------------


def histogram(name: str, counts: dict[str, int], labels: str = "") -> str:
    total, lines = 0, []
    for bound, count in counts.items():
        total += count
        lines.append(f'{name}_bucket{{{labels}le="{bound}"}} {total}')
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"0.004": 1000, "0.016": 5, "+Inf": 0}, OK),
        ({"0.004": 1000, "0.064": 900, "+Inf": 0}, WARNING),
        ({"0.004": 1000, "0.064": 0, "+Inf": 900}, ERROR),
        ({"0.004": 10, "+Inf": 10}, OK),
    ],
)
def test_disk(counts: dict[str, int], expected: Severity) -> None:
    brought: dict[Probe[Any], Any] = {facts.METRICS: told(histogram(work.FSYNC, counts))}
    assert severities(work.disk, cluster(), brought) == [expected]


@pytest.mark.parametrize(
    ("text", "hours", "expected"),
    [
        ("etcd_server_leader_changes_seen_total 2", 10, OK),
        ("etcd_server_leader_changes_seen_total 50", 10, WARNING),
        ("etcd_server_leader_changes_seen_total 50", 24 * 30, OK),
        ("", 10, OK),
    ],
)
def test_elections(text: str, hours: int, expected: Severity) -> None:
    now = time.time()
    found = told(f"{text}\nprocess_start_time_seconds {now - hours * 3600}", at=now)
    assert severities(work.elections, cluster(), {facts.METRICS: found}) == [expected]


def test_network() -> None:
    near, far = ({"0.0128": 1000, "+Inf": 0}, {"0.0128": 10, "0.2048": 1000, "+Inf": 0})
    for counts, expected in ((near, OK), (far, WARNING)):
        found = told(histogram(work.ROUND_TRIP, counts, 'To="8e9e05c52164694d",'))
        assert severities(work.network, cluster(), {facts.METRICS: found}) == [expected]


@pytest.mark.parametrize(("failed", "expected"), [(3, OK), (500, WARNING)])
def test_proposals(failed: int, expected: Severity) -> None:
    now = time.time()
    found = told(f"etcd_server_proposals_failed_total {failed}\nprocess_start_time_seconds {now - 3600}", at=now)
    assert severities(work.proposals, cluster(), {facts.METRICS: found}) == [expected]


def handled(method: str, code: str, count: int, kind: str = "unary") -> str:
    return f'grpc_server_handled_total{{grpc_code="{code}",grpc_method="{method}",grpc_type="{kind}"}} {count}'


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([handled("Range", "OK", 10_000), handled("Range", "Unavailable", 10)], OK),
        ([handled("Range", "OK", 10_000), handled("Range", "Unavailable", 200)], WARNING),
        ([handled("Range", "OK", 10_000), handled("Range", "Unavailable", 2_000)], ERROR),
        ([handled("Range", "OK", 10_000), handled("Range", "OutOfRange", 2_000)], OK),
        ([handled("Range", "Unavailable", 20)], OK),
        ([handled("Watch", "Unavailable", 9_000, "bidi_stream")], OK),
    ],
)
def test_calls(lines: list[str], expected: Severity) -> None:
    assert severities(work.calls, cluster(), {facts.METRICS: told("\n".join(lines))}) == [expected]


def test_watches() -> None:
    for text, expected in (("etcd_debugging_mvcc_slow_watcher_total 3", INFO), ("", OK)):
        assert severities(work.watches, cluster(), {facts.METRICS: told(text)}) == [expected]


GROWING = "etcd_debugging_mvcc_total_put_size_in_bytes {}\nprocess_start_time_seconds 1000\n"


@pytest.mark.parametrize(
    ("written", "hours", "expected"),
    [
        (10 * MB, 10.0, OK),
        (1000 * MB, 10.0, WARNING),
        (10_000 * MB, 10.0, ERROR),
        (10_000 * MB, 0.1, Severity.NOT_VISIBLE),
        (0, 10.0, Severity.NOT_VISIBLE),
    ],
)
def test_when_it_will_be_full(written: int, hours: float, expected: Severity) -> None:
    brought: dict[Probe[Any], Any] = {
        facts.STATUSES: (EndpointStatus("a:1", replace(STATUS, db_size_quota=2 * GB), ""),),
        facts.METRICS: told(GROWING.format(written), at=1000 + 3600 * hours),
        facts.HISTORY: Reach(oldest=1, newest=9),
    }
    assert severities(growth.growth, cluster(), brought) == [expected]
    if expected is WARNING:
        assert "is full in 19 h, at 100 MiB an hour" in judge(growth.growth, cluster(), brought)[0].seen
    brought[facts.HISTORY] = Reach(oldest=5, newest=9)
    assert severities(growth.growth, cluster(), brought) == [OK]


# --- reading metrics -------------------------------------------------------------------------------------------------


def test_metrics_are_read_with_their_labels_and_what_is_senseless_is_left_out() -> None:
    text = (
        "# HELP etcd_server_has_leader x\n"
        "etcd_server_has_leader 1\n"
        "etcd_server_has_leader_not 1\n"
        'grpc_server_handled_total{grpc_code="OK",grpc_method="a\\"b"} 3\n'
        'grpc_server_handled_total{grpc_code="OK",grpc_method="c"} 4 1700000000\n'
        "etcd_server_quota_backend_bytes nonsense\n"
        "etcd_server_proposals_pending{\n"
        "go_goroutines 5\n"
    )
    found = Metrics(metrics.parse(text))
    assert set(found.samples) == {"etcd_server_has_leader", "grpc_server_handled_total"}
    assert found.value("grpc_server_handled_total") == 7
    assert {dict(each)["grpc_method"] for each in found.samples["grpc_server_handled_total"]} == {'a\\"b', "c"}
    assert found.value("etcd_server_quota_backend_bytes") is None
    assert found.hours() is None
    assert found.quantile("etcd_disk_wal_fsync_duration_seconds", 0.99) is None


def test_a_quantile_beyond_all_bounds_is_infinite() -> None:
    found = Metrics(metrics.parse(histogram(work.FSYNC, {"0.1": 10, "+Inf": 1000})))
    assert found.quantile(work.FSYNC, 0.99) == math.inf


@pytest.mark.parametrize(
    ("date", "skew"),
    [
        ("Tue, 14 Nov 2023 22:13:20 GMT", 0.0),
        ("Tue, 14 Nov 2023 22:13:19 GMT", -0.2),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 59.5),
        ("Tue, 14 Nov 2023 22:12:20 GMT", -59.2),
        ("yesterday", None),
        (None, None),
    ],
)
def test_the_clock_of_a_server_is_proven_wrong_only_by_whole_seconds(date: str | None, skew: float | None) -> None:
    found = metrics._skew(date, 1_700_000_000.2, 1_700_000_000.5)
    assert found == (None if skew is None else pytest.approx(skew, abs=1e-3))


@pytest.fixture
def serve() -> Iterator[Callable[[int, bytes], Endpoint]]:
    """Answer over HTTP: ``serve(status, body)`` returns where."""
    servers: list[HTTPServer] = []

    def serve(status: int, body: bytes) -> Endpoint:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return Endpoint("127.0.0.1", server.server_port)

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_metrics_over_http(serve: Callable[[int, bytes], Endpoint], monkeypatch: pytest.MonkeyPatch) -> None:
    found = metrics.read(serve(200, b"etcd_server_has_leader 1\n"), None, 10)
    assert found.value("etcd_server_has_leader") == 1
    assert found.skew == 0
    with pytest.raises(NotVisible, match="answers with status 404"):
        metrics.read(serve(404, b""), None, 10)
    monkeypatch.setattr(metrics, "MOST", 1000)
    with pytest.raises(NotVisible, match="too long"):
        metrics.read(serve(200, b"x" * 2000), None, 10)
