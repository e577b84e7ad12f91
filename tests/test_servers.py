"""URLs of stores on servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.locations import Location, Plane, Reach, open_engine, open_store, parse
from django_etcdaero.servers import Server

BASE = Path("/srv/shop")


def server(url: str, plane: Plane = Plane.KV) -> Server:
    location = parse(url, plane=plane, base_dir=BASE)
    assert location.server is not None
    return location.server


def refused(url: str, plane: Plane = Plane.KV) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse(url, plane=plane, base_dir=BASE)
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("etcd://h1:2379", (("h1", 2379),)),
        ("etcd://h1", (("h1", 2379),)),
        ("etcd://h1:1,h2.example.org:2,10.0.0.1:3/", (("h1", 1), ("h2.example.org", 2), ("10.0.0.1", 3))),
        ("etcd://[::1]:2379,[fe80::1]", (("::1", 2379), ("fe80::1", 2379))),
        ("http://h1:2379", (("h1", 2379),)),
    ],
)
def test_etcd_hosts(url: str, hosts: tuple[tuple[str, int], ...]) -> None:
    assert server(url).hosts == hosts
    assert not server(url).encrypted


def test_addresses_are_written_for_people_and_for_clients() -> None:
    assert server("etcd://h1,[::1]:5").addresses == ("h1:2379", "[::1]:5")


def test_http_and_etcd_are_one_location() -> None:
    assert parse("http://h1:2379", plane=Plane.KV) == parse("etcd://h1", plane=Plane.KV)
    assert parse("https://h1", plane=Plane.KV) == parse("etcds://h1", plane=Plane.KV)
    assert parse("https://h1", plane=Plane.KV) != parse("etcd://h1", plane=Plane.KV)


def test_credentials_are_decoded_and_never_shown() -> None:
    location = parse("etcds://root:s%40crEt%2F%23:x@h1?ca=ca.pem", plane=Plane.KV, base_dir=BASE)
    assert location.server is not None
    assert (location.server.user, location.server.password) == ("root", "s@crEt/#:x")
    for text in (location.safe, repr(location), str(location), repr(location.server)):
        assert "crEt" not in text
        assert "root" not in text


def test_tls_files_are_relative_to_base_dir() -> None:
    found = dict(server("etcds://h1?ca=tls/ca.pem&cert=/etc/c.pem&key=/etc/k.pem").files)
    assert found == {"ca": "/srv/shop/tls/ca.pem", "cert": "/etc/c.pem", "key": "/etc/k.pem"}


def test_the_members_of_a_cluster_are_looked_up_if_so_asked() -> None:
    assert server("etcd://h1").sync is None
    assert server("etcd://h1,h2/?sync=60").sync == 60
    assert server("etcds://h1?ca=/etc/ca.pem&sync=86400").files == (("ca", "/etc/ca.pem"),)


def test_aerospike_has_namespace_and_set() -> None:
    found = server("aerospike://u:p@h1,h2:3100/cache/shop", Plane.RECORDS)
    assert found.hosts == (("h1", 3000), ("h2", 3100))
    assert (found.namespace, found.set_name, found.user, found.password) == ("cache", "shop", "u", "p")
    assert parse("aerospike://u:p@h1/cache/shop", plane=Plane.RECORDS).safe == "aerospike://h1:3000/cache/shop"


def test_a_cluster_is_shared_so_it_needs_a_prefix() -> None:
    location = parse("etcd://h1", plane=Plane.KV)
    assert location.reach is Reach.CLUSTER
    assert location.prefix_required


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("etcd://", "hosts are written host:port"),
        ("etcd://h1,,h2", "hosts are written host:port"),
        ("etcd://h1:0", "hosts are written host:port"),
        ("etcd://h1:65536", "hosts are written host:port"),
        ("etcd://::1", "hosts are written host:port"),
        ("etcd://h1/shop", "nothing may follow the hosts"),
        ("etcd://user@h1", "credentials are written user:password@"),
        ("etcd://h1?ca=x", "certificates are for the encrypted schemes"),
        ("etcds://h1?cert=x", "'cert' and 'key' are given together"),
        ("etcds://h1?password=hunter2", "unknown option 'password'"),
        ("etcds://h1?ca=", "given once, with a value"),
        ("etcd://h1?sync=0", "'sync' is 1 to 86400 whole seconds"),
        ("etcd://h1?sync=86401", "'sync' is 1 to 86400 whole seconds"),
        ("etcd://h1?sync=1.5", "'sync' is 1 to 86400 whole seconds"),
        ("etcd://h1?sync=5&ca=x", "certificates are for the encrypted schemes"),
        ("etcd://u:hunter2@h1#x", "no part after '#'"),
        ("aerospike://h1/ns/set", "cannot be used as KV"),
        ("ectd://h1", "did you mean 'etcd'"),
    ],
)
def test_what_is_wrong_is_named_without_quoting_secrets(url: str, words: str) -> None:
    message = refused(url)
    assert words in message
    assert "hunter2" not in message


@pytest.mark.parametrize("path", ["", "/", "/ns", "/ns/", "/ns/set/more"])
def test_aerospike_needs_namespace_and_set(path: str) -> None:
    assert "followed by /namespace/set" in refused(f"aerospike://h1{path}", Plane.RECORDS)


def test_opening_connects_to_nothing() -> None:
    engine = open_engine(parse("etcd://127.0.0.1:1", plane=Plane.KV), timeout=1)
    assert engine.info.location == "etcd://127.0.0.1:1"
    engine.close()
    store = open_store(parse("aerospike://127.0.0.1:1/ns/set", plane=Plane.RECORDS), timeout=1)
    assert "127.0.0.1:1" in store.info.location
    store.close()


def test_a_location_is_a_value() -> None:
    first: Location = parse("etcd://h1", plane=Plane.KV)
    assert {first, parse("etcd://h1:2379/", plane=Plane.KV)} == {first}
