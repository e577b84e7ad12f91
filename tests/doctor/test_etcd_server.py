"""The doctor on real etcd servers, each in some trouble."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from django_etcdaero.doctor import Severity, examine
from django_etcdaero.doctor.etcd import facts, metrics, size
from django_etcdaero.exceptions import StoreFull
from django_etcdaero.keyvalue.administration import PermissionType
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.runtime import runtime
from django_etcdaero.stores.credentials import Tls
from django_etcdaero.stores.endpoint import parse_endpoint
from tests.certificates import Authority
from tests.doctor.conftest import told
from tests.keyvalue.etcd.servers import Cluster, Server, encrypted_server
from tests.management.running import declare
from tests.waiting import wait_until

Stores = Callable[..., None]

OK, INFO, WARNING, ERROR = Severity.OK, Severity.INFO, Severity.WARNING, Severity.ERROR

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.usefixtures("registry")]

PATIENT = 60.0
"""Seconds, on a machine that does other things too."""


def use(stores: Stores, server: Server, **options: str) -> None:
    url = f"etcd://{server.endpoint}"
    stores(default={"KV": url, "RECORDS": url, **options})


def fill(kv: KV) -> None:
    """Write until the store takes no more."""
    for number in range(1000):
        try:
            kv.put(f"k{number}", b"x" * 100_000)
        except StoreFull:
            return
    raise AssertionError("it takes everything")


def test_a_server_in_good_health(stores: Stores, shared_server: Server) -> None:
    use(stores, shared_server)
    declare().refresh()
    report = examine(timeout=PATIENT, write_probe=True)
    expected = {
        **dict.fromkeys(("etcd.reachable", "etcd.leader", "etcd.quota", "etcd.alarms", "etcd.fragmentation"), OK),
        **dict.fromkeys(("etcd.lag", "etcd.compaction", "etcd.clock", "etcd.encryption", "etcd.endpoints"), OK),
        **dict.fromkeys(("etcd.elections", "etcd.calls", "records.room", "datasets.whole"), OK),
        **dict.fromkeys(("kv.read", "kv.write", "records.read", "records.write"), OK),
        "etcd.members": INFO,
        "etcd.auth": INFO,
        "etcd.divergence": Severity.NOT_VISIBLE,
    }
    assert {name: told(report, name).severity for name in expected} == expected
    # Other tests use the server, and some of them give up on it in the middle of a write.
    assert told(report, "etcd.proposals").severity in (OK, WARNING)
    assert "2.0 GiB" in told(report, "etcd.quota").seen
    version = shared_server.etcdctl("version").stdout.split()[2]
    faulty = version in ("3.5.0", "3.5.1", "3.5.2")
    assert told(report, "etcd.version").severity is (ERROR if faulty else OK)


def test_a_server_that_has_records_only(stores: Stores, shared_server: Server) -> None:
    stores(default={"KV": "mem:", "RECORDS": f"etcd://{shared_server.endpoint}/doctor"})
    report = examine(timeout=PATIENT)
    for check in ("records.read", "records.room", "etcd.reachable", "etcd.quota", "etcd.compaction"):
        assert told(report, check).severity is OK


def test_checksums_of_many_keys_are_not_asked_for(
    stores: Stores, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "HASHED", 0)
    stores(default={"KV": f"etcd://{','.join(each.endpoint for each in cluster.members)}"})
    finding = told(examine(only=["etcd.divergence"], timeout=PATIENT), "etcd.divergence")
    assert finding.severity is Severity.NOT_VISIBLE
    assert "would read" in finding.seen


def test_a_quota_that_is_used_up(stores: Stores, tmp_path: Path) -> None:
    with Server("small", tmp_path / "small", options=["--quota-backend-bytes", str(1 << 20)]).running() as server:
        use(stores, server)
        kv = runtime.stores("default").kv
        fill(kv)
        report = examine(timeout=PATIENT, write_probe=True)
        assert told(report, "etcd.quota").severity is ERROR
        assert "of 1.0 MiB" in told(report, "etcd.quota").seen
        alarm = told(report, "etcd.alarms")
        assert alarm.severity is ERROR
        assert "NOSPACE" in alarm.seen
        assert f"etcdctl --endpoints={server.endpoint} alarm disarm" in alarm.remedy
        assert told(report, "kv.write").severity is ERROR
        assert "database space exceeded" in told(report, "kv.write").seen
        assert told(report, "kv.read").severity is not ERROR


def test_history_and_holes(stores: Stores, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    use(stores, server)
    monkeypatch.setattr(size, "LARGE", 1 << 20)
    kv = runtime.stores("default").kv
    for _ in range(60):
        revision = kv.put("k", b"x" * 100_000).revision
    before = examine(only=["etcd"], timeout=PATIENT)
    assert told(before, "etcd.compaction").seen == f"{revision - 1:,} of {revision:,} revisions are kept"
    assert told(before, "etcd.reach").severity is OK
    kv.open_engine().compact(revision - 3, physical=True)
    after = examine(only=["etcd"], timeout=PATIENT)
    assert told(after, "etcd.compaction").seen == f"3 of {revision:,} revisions are kept"
    assert told(after, "etcd.reach").severity is INFO

    def settled() -> bool:
        kv.put("other", b"1")  # pages that were freed are known to be free when something else was written
        return kv.maintenance.status().db_size_in_use < 2 << 20

    wait_until(settled, what="the holes being told")
    after = examine(only=["etcd"], timeout=PATIENT)
    assert told(after, "etcd.fragmentation").severity is WARNING
    assert told(after, "etcd.fragmentation").remedy.startswith(f"etcdctl --endpoints={server.endpoint} defrag")
    kv.maintenance.defragment(server.endpoint)
    assert told(examine(only=["etcd"], timeout=PATIENT), "etcd.fragmentation").severity is OK


def test_a_user_who_may_not(stores: Stores, server: Server) -> None:
    use(stores, server)
    auth = runtime.stores("default").kv.auth
    for user in ("root", "shop"):
        auth.user_add(user, password=f"{user}-secret")
        auth.role_add(user)
        auth.user_grant_role(user, user)
    auth.role_grant_permission("shop", "elsewhere/", prefix=True, permission=PermissionType.READWRITE)
    auth.enable()
    use(stores, server, KV_USER="shop", KV_PASSWORD="shop-secret", RECORDS_USER="shop", RECORDS_PASSWORD="shop-secret")
    report = examine(timeout=PATIENT)
    assert told(report, "kv.read").severity is ERROR
    assert "permission denied" in told(report, "kv.read").seen
    assert "--prefix=true readwrite tests/" in told(report, "kv.read").remedy
    assert told(report, "locks.held").severity is Severity.NOT_PERMITTED
    assert told(report, "etcd.members").severity in (Severity.NOT_PERMITTED, INFO)
    assert told(report, "etcd.auth").severity is OK
    assert told(report, "records.read").severity is ERROR
    assert told(report, "datasets.leftover").severity is Severity.NOT_PERMITTED
    assert "shop-secret" not in repr(report)
    wrong = {"KV_USER": "shop", "KV_PASSWORD": "wrong-secret"}
    use(stores, server, RECORDS="mem:", **wrong)
    report = examine(timeout=PATIENT)
    assert told(report, "kv.read").severity is ERROR
    assert told(report, "etcd.reachable").severity is ERROR
    assert "wrong-secret" not in repr(report)
    use(stores, server, KV_USER="root", KV_PASSWORD="root-secret", RECORDS_USER="root", RECORDS_PASSWORD="root-secret")
    report = examine(timeout=PATIENT)
    assert told(report, "kv.read").severity is told(report, "etcd.alarms").severity is OK


def test_a_cluster(stores: Stores, cluster: Cluster) -> None:
    one, two, three = cluster.members
    stores(default={"KV": f"etcd://{one.endpoint}"})
    report = examine(only=["etcd"], timeout=PATIENT)
    assert told(report, "etcd.members").severity is OK
    assert told(report, "etcd.divergence").severity is Severity.NOT_VISIBLE  # it knows one member only
    missing = told(report, "etcd.endpoints")
    assert missing.severity is WARNING
    assert two.endpoint in missing.remedy
    assert three.endpoint in missing.remedy
    stores(default={"KV": f"etcd://{one.endpoint},{two.endpoint},{three.endpoint}"})
    report = examine(only=["etcd"], timeout=PATIENT)
    assert told(report, "etcd.endpoints").severity is OK
    assert told(report, "etcd.divergence").seen == "3 members have the same checksum"
    assert told(report, "etcd.reachable").seen.startswith("3 of 3; ")
    three.kill()
    report = examine(only=["etcd"], timeout=PATIENT)
    assert told(report, "etcd.reachable").severity is WARNING
    assert three.endpoint in told(report, "etcd.reachable").seen
    assert told(report, "etcd.leader").severity in (OK, WARNING)


def test_servers_that_are_frozen_or_gone_hold_nothing_up(stores: Stores, server: Server, tmp_path: Path) -> None:
    """Everything is down: the doctor ends in time, says so, and says what it could not see."""
    declare()
    stores(
        default={"KV": f"etcd://{server.endpoint}", "RECORDS": "aerospike://127.0.0.1:1/test/records"},
        gone={"KV": "etcd://127.0.0.1:1", "RECORDS": "etcd://127.0.0.1:1"},
    )
    server.signal(signal.SIGSTOP)
    report = examine(timeout=4)
    server.signal(signal.SIGCONT)
    assert report.seconds < 8  # of which threads of a busy machine take some
    by_check: dict[str, list[Severity]] = {}
    for each in report.findings:
        by_check.setdefault(each.check, []).append(each.severity)
    assert by_check["etcd.reachable"] == [ERROR, ERROR]
    assert by_check["kv.read"] == [ERROR, ERROR]
    assert by_check["records.read"] == [ERROR, ERROR]
    assert by_check["etcd.alarms"] == [Severity.NO_ANSWER] * 2
    assert set(by_check["etcd.disk"]) <= {Severity.NOT_VISIBLE, Severity.NO_ANSWER}  # which limit is over first
    assert by_check["datasets.published"] == [Severity.NO_ANSWER, OK]  # none uses the second alias
    assert by_check["datasets.leftover"] == [Severity.NO_ANSWER] * 2
    assert by_check["aerospike.space"] == [Severity.NO_ANSWER]
    assert by_check["project.versions"] == [OK]
    assert not {OK, INFO} & set(by_check["locks.held"])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def encrypted(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with encrypted_server(authority, tmp_path_factory.mktemp("encrypted")) as server:
        yield server


def test_metrics_over_an_encrypted_connection(encrypted: Server, authority: Authority) -> None:
    certificate, key = authority.issue("client")
    endpoint = parse_endpoint(encrypted.endpoint)
    tls = Tls(ca=str(authority.certificate), cert=str(certificate), key=str(key))
    found = metrics.read(endpoint, tls, PATIENT)
    assert found.value("etcd_server_has_leader") == 1
    assert found.skew == 0
    for wrong in (None, Tls(), Tls(ca=str(authority.certificate)), Tls(ca="/nowhere.pem")):
        with pytest.raises(metrics.NotVisible):
            metrics.read(endpoint, wrong, PATIENT)


def test_metrics_of_what_is_no_etcd(tmp_path: Path) -> None:
    with suppress(OSError), pytest.raises(metrics.NotVisible, match="cannot be read"):
        metrics.read(parse_endpoint("127.0.0.1:1"), None, 1.0)
