"""What cannot be a set of a cluster is refused before anything is tried."""

from __future__ import annotations

from typing import Any

import pytest

from django_etcdaero.exceptions import ConfigurationError, InvalidRequest
from django_etcdaero.records.aerospike.client_config import client_config
from django_etcdaero.records.aerospike.store import AerospikeStore
from django_etcdaero.stores.aerospike import AerospikeAddress, address_of
from django_etcdaero.stores.credentials import Tls

GOOD: dict[str, Any] = {"hosts": [("db1", 3000)], "namespace": "test", "set_name": "s"}


def open_store(**options: Any) -> AerospikeStore:
    options = GOOD | options
    return AerospikeStore(options.pop("hosts"), **options)


def address(**options: Any) -> AerospikeAddress:
    options = GOOD | options
    return address_of(options.pop("hosts"), **options)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"hosts": []}, "hosts"),
        ({"hosts": [("", 3000)]}, "hosts"),
        ({"hosts": [("a\0b", 3000)]}, "hosts"),
        ({"hosts": [("db1", 0)]}, "hosts"),
        ({"hosts": [("db1", 65536)]}, "hosts"),
        ({"hosts": [("db1", "3000")]}, "hosts"),
        ({"namespace": ""}, "namespace"),
        ({"namespace": "n" * 32}, "namespace.*31"),
        ({"namespace": "a b"}, "namespace"),
        ({"set_name": ""}, "set_name"),
        ({"set_name": "s" * 64}, "set_name.*63"),
        ({"set_name": "a;namespace=b"}, "set_name"),
        ({"set_name": "a\0b"}, "set_name"),
        ({"set_name": "\udcff"}, "set_name"),
        ({"user": "u"}, "password"),
        ({"password": "hunter2"}, "password"),
        ({"user": "u\0", "password": "p"}, "user"),
        ({"user": "u", "password": ""}, "password"),
    ],
    ids=str,
)
def test_what_cannot_work_is_a_configuration_error_that_names_it(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        open_store(**options)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"hosts": "db1"}, "hosts"), ({"namespace": b"test"}, "namespace.*bytes"), ({"set_name": None}, "set_name")],
    ids=str,
)
def test_another_type_is_a_type_error_that_names_it(options: dict[str, Any], named: str) -> None:
    with pytest.raises(TypeError, match=named):
        open_store(**options)


def test_certificate_and_key_of_tls_belong_together() -> None:
    with pytest.raises(ConfigurationError, match="cert and key"):
        open_store(tls=Tls(cert="c.pem"))


@pytest.mark.parametrize("timeout", [0, -1, float("inf")])
def test_the_default_timeout_is_bounded(timeout: float) -> None:
    with pytest.raises(InvalidRequest, match="timeout"):
        open_store(timeout=timeout)


def test_the_longest_names_are_taken() -> None:
    assert open_store(namespace="n" * 31, set_name="s" * 63).info.kind == "aerospike"


def test_the_location_names_all_hosts_and_no_credentials() -> None:
    hosts = [("db1", 3000), ("::1", 3001)]
    store = open_store(hosts=hosts, user="u", password="hunter2")
    assert store.info.location == "aerospike://db1:3000,[::1]:3001/test/s"
    assert open_store(hosts=hosts, tls=Tls()).info.location.startswith("aerospikes://")
    assert "hunter2" not in repr(address(hosts=hosts, user="u", password="hunter2"))


def test_what_the_client_is_told() -> None:
    tls = Tls(ca="ca.pem", cert="c.pem", key="k.pem", name="cluster")
    config = client_config(address(user="u", password="p", tls=tls), [("db1", 4333)], 1.0)
    assert config["hosts"] == [("db1", 4333, "cluster")]
    assert config["tls"] == {"enable": True, "cafile": "ca.pem", "certfile": "c.pem", "keyfile": "k.pem"}
    assert (config["user"], config["password"]) == ("u", "p")
    plain = client_config(address(tls=Tls()), [("db1", 4333)], 1.0)
    assert plain["hosts"] == [("db1", 4333, "db1")]
    assert plain["tls"] == {"enable": True}
    assert "user" not in plain
