"""Encrypted connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from django_etcdaero.exceptions import ClusterError, ConfigurationError
from django_etcdaero.kv.engine import PutRequest, RangeRequest, WatchRequest
from django_etcdaero.kv.etcd import EtcdEngine, Tls
from tests.certificates import Authority
from tests.etcd.servers import Server
from tests.kv.recording import Recording, short

Connect = Callable[..., EtcdEngine]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def encrypted(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that wants to see a certificate of its clients."""
    certificate, key = authority.issue("server")
    options = ["--cert-file", certificate, "--key-file", key, "--client-cert-auth"]
    options += ["--trusted-ca-file", authority.certificate]
    server = Server("encrypted", tmp_path_factory.mktemp("encrypted"), options=list(map(str, options)), tls=True)
    client, client_key = authority.issue("etcdctl")
    with server.running("--cacert", str(authority.certificate), "--cert", str(client), "--key", str(client_key)):
        yield server


@pytest.fixture(scope="module")
def files(authority: Authority) -> Tls:
    certificate, key = authority.issue("client")
    return Tls(ca=str(authority.certificate), cert=str(certificate), key=str(key))


def test_everything_works_encrypted(encrypted: Server, files: Tls, connect: Connect) -> None:
    engine = connect([encrypted.endpoint], tls=files)
    seen = Recording()
    engine.watch(WatchRequest(b"a"), seen)
    engine.put(PutRequest(b"a", b"1"))
    assert short(seen.wait(1)) == ["+a=1"]
    assert engine.lease_keep_alive(engine.lease_grant(60).id) == 60
    assert engine.info.location == f"etcds://{encrypted.endpoint}"


def test_a_host_name_is_checked_against_the_certificate(encrypted: Server, files: Tls, connect: Connect) -> None:
    engine = connect([f"localhost:{encrypted.client_port}"], tls=files)
    engine.put(PutRequest(b"a", b"2"))
    assert engine.range(RangeRequest(b"a")).kvs[0].value == b"2"


def test_a_client_without_certificate_is_turned_away(encrypted: Server, files: Tls, connect: Connect) -> None:
    engine = connect([encrypted.endpoint], tls=Tls(ca=files.ca))
    with pytest.raises(ClusterError):
        engine.range(RangeRequest(b"a"), timeout=0.5)


def test_a_server_of_an_unknown_authority_is_not_talked_to(encrypted: Server, connect: Connect, tmp_path: Path) -> None:
    stranger = Authority(tmp_path)
    for tls in (Tls(ca=str(stranger.certificate)), Tls()):
        engine = connect([encrypted.endpoint], tls=tls)
        with pytest.raises(ClusterError, match=r"(?i)certificate|ssl|handshake"):
            engine.put(PutRequest(b"a"), timeout=0.5)


def test_a_file_that_is_missing_is_named(encrypted: Server, connect: Connect) -> None:
    engine = connect([encrypted.endpoint], tls=Tls(ca="/nowhere/ca.pem"))
    for call in (
        lambda: engine.range(RangeRequest(b"a")),
        lambda: engine.watch(WatchRequest(b"a"), Recording()),
    ):
        with pytest.raises(ConfigurationError, match=r"ca .*/nowhere/ca\.pem"):
            call()


def test_certificate_and_key_belong_together() -> None:
    with pytest.raises(ConfigurationError, match="cert and key"):
        Tls(cert="client.pem")
