"""URLs of records in etcd: the cluster, the room in it, and the bounds."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest

from django_etcdaero.exceptions import ClusterError, ConfigurationError, DeadlineExceeded
from django_etcdaero.schemes import open_engine, open_store, parse
from django_etcdaero.stores.address import Plane, Reach, is_split
from django_etcdaero.stores.credentials import Credentials, Tls
from django_etcdaero.stores.endpoint import Endpoint
from django_etcdaero.stores.etcd_records import EtcdRecordsAddress


def records(url: str) -> EtcdRecordsAddress:
    address = parse(url, plane=Plane.RECORDS)
    assert isinstance(address, EtcdRecordsAddress)
    return address


@pytest.mark.parametrize(
    ("url", "safe", "room"),
    [
        ("etcd://h1", "etcd://h1:2379", "shop/records/"),
        ("etcd://h1:2379/", "etcd://h1:2379", "shop/records/"),
        ("etcd://h1/blocks", "etcd://h1:2379/blocks", "/blocks/shop/records/"),
        ("etcds://h1,h2/a/b.c_d-e/", "etcds://h1:2379,h2:2379/a/b.c_d-e", "/a/b.c_d-e/shop/records/"),
        ("http://h1:2379,http://h2:2379/blocks", "etcd://h1:2379,h2:2379/blocks", "/blocks/shop/records/"),
        ("https://h1/,https://h2/", "etcds://h1:2379,h2:2379", "shop/records/"),
    ],
)
def test_the_records_of_an_alias_have_a_room_below_path_and_prefix(url: str, safe: str, room: str) -> None:
    address = records(url)
    assert address.safe == safe
    assert address.of_alias("shop").room == room
    assert address.of_alias("shop").safe == safe
    assert address.reach is Reach.CLUSTER
    assert address.prefix_required


def test_without_an_alias_a_path_is_the_room() -> None:
    assert records("etcd://h1/cache/pages").room == "/cache/pages/"
    with pytest.raises(ConfigurationError, match="etcd://h1:2379: without an alias of ETCDAERO a path must follow"):
        open_store(records("etcd://h1"), timeout=1)


def test_hosts_credentials_and_options_are_those_of_the_cluster() -> None:
    address = records("etcds://u:hunter2@h1,[::1]:5/blocks?ca=/etc/ca.pem&sync=60&entries=500&value=2000")
    assert address.cluster == parse("etcds://u:hunter2@h1,[::1]:5?ca=/etc/ca.pem&sync=60", plane=Plane.KV)
    assert address.cluster.credentials == Credentials("u", "hunter2")
    assert address.cluster.tls == Tls(ca="/etc/ca.pem")
    assert (address.max_entries, address.max_value_bytes) == (500, 2000)
    assert "hunter2" not in f"{address!r} {address.safe}"


def test_a_location_is_a_value() -> None:
    assert records("etcd://h1/a") == records("http://H1:2379/a/?entries=5")
    assert records("etcd://h1/a") != records("etcd://h1/b")
    assert records("etcd://h1").of_alias("a") != records("etcd://h1").of_alias("b")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("etcd://", "hosts are written host:port"),
        ("etcd://h1/a//b", "the path has 1 to 200 letters"),
        ("etcd://h1//a", "the path has 1 to 200 letters"),
        ("etcd://h1/a%20b", "the path has 1 to 200 letters"),
        ("etcd://h1/a:b", "the path has 1 to 200 letters"),
        (f"etcd://h1/{'a' * 200}", "the path has 1 to 200 letters"),
        ("etcd://u:hunter2@h1/a?entries=0", "'entries' is a whole number from 1 to 10000000"),
        ("etcd://h1/a?entries=1e3", "'entries' is a whole number"),
        ("etcd://h1/a?entries=99999999", "'entries' is a whole number"),
        ("etcd://h1/a?value=1500001", "'value' is a whole number from 1 to 1500000"),
        ("etcd://h1/a?size=5", "unknown option 'size'; known: ca, cert, key, sync, entries, value"),
        ("etcd://h1/a?ca=x", "certificates are for the encrypted schemes"),
        ("aerospikse://h1", "did you mean 'aerospike'"),
    ],
)
def test_what_is_wrong_is_named_without_quoting_secrets(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(url, plane=Plane.RECORDS)
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_options_of_records_are_none_of_kv() -> None:
    with pytest.raises(ConfigurationError, match="unknown option 'entries'"):
        parse("etcd://h1?entries=5", plane=Plane.KV)


def test_reading_urls_imports_no_client() -> None:
    program = """if True:
        import sys
        from django_etcdaero.schemes import parse
        from django_etcdaero.stores.address import Plane
        parse("etcds://h1/a?ca=x", plane=Plane.RECORDS).of_alias("shop")
        loaded = {"grpc", "etcd3", "django_etcdaero.keyvalue.engine"} & set(sys.modules)
        assert not loaded, loaded
    """
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_opening_connects_to_nothing_and_takes_the_bounds() -> None:
    store = open_store(records("etcd://127.0.0.1:1/a?value=1000").of_alias("shop"), timeout=1)
    assert store.info.location == "etcd://127.0.0.1:1"
    assert store.info.details == {"room": "/a/shop/records/"}
    assert store.max_value_bytes == 1000
    store.close()


@pytest.mark.parametrize(
    ("kv", "url", "shared"),
    [
        ("etcd://127.0.0.1:1", "etcd://127.0.0.1:1/a", True),
        ("http://u:p@127.0.0.1:1", "etcd://u:p@127.0.0.1:1", True),
        ("etcd://127.0.0.1:1", "etcd://127.0.0.1:2", False),
        ("etcd://u:p@127.0.0.1:1", "etcd://u:other@127.0.0.1:1", False),
        ("etcd://127.0.0.1:1", "etcds://127.0.0.1:1", False),
        ("mem:", "etcd://127.0.0.1:1", False),
    ],
)
def test_a_store_on_the_servers_of_an_engine_goes_through_it(kv: str, url: str, shared: bool) -> None:
    address = parse(kv, plane=Plane.KV)
    engine = open_engine(address, timeout=1)
    store = open_store(records(url).of_alias("shop"), timeout=1, beside=(address, engine))
    assert (vars(store)["_engine"] is engine) is shared
    store.close()
    with contextlib.suppress(ClusterError, DeadlineExceeded):  # it is open, though nobody is there
        engine.get(b"k", timeout=0.01)
    engine.close()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("db.localhost", True),
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
        ("localhost5", False),
        ("0.0.0.0", False),
        ("fe80::1", False),
    ],
)
def test_hosts_that_are_this_one(host: str, loopback: bool) -> None:
    assert Endpoint(host, 2379).is_loopback is loopback


@pytest.mark.parametrize(
    ("kv", "url", "split"),
    [
        ("etcd://h1", "sqlite:////r", True),
        ("etcd://h1", "mem:", True),
        ("etcd://127.0.0.1,h1", "sqlite:////r", True),
        ("etcd://h1", "etcd://localhost/a", True),
        ("etcd://localhost,[::1]", "sqlite:////r", False),
        ("etcd://127.0.0.1", "mem:", False),
        ("etcd://h1", "etcd://h1", False),
        ("etcd://h1", "aerospike://h1/a/b", False),
        ("etcd://localhost", "etcd://h1", False),
        ("sqlite:////k", "sqlite:////r", False),
        ("sqlite:////k", "aerospike://h1/a/b", False),
        ("mem:", "mem:", False),
    ],
)
def test_announcements_for_all_hosts_and_records_for_one(kv: str, url: str, split: bool) -> None:
    assert is_split(parse(kv, plane=Plane.KV), parse(url, plane=Plane.RECORDS)) is split
