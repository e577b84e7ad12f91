"""Servers whose authentication changes, or starts anew, under engines that go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from django_etcdaero.exceptions import EtcdAeroError, PermissionDenied
from django_etcdaero.keyvalue.etcd import EtcdEngine, Tls
from django_etcdaero.keyvalue.values import (
    Compare,
    CompareOp,
    CompareTarget,
    PutRequest,
    RangeRequest,
    TxnRequest,
    WatchRequest,
)
from tests.certificates import Authority
from tests.keyvalue.etcd.servers import Server
from tests.keyvalue.recording import Recording, short
from tests.waiting import wait_until

Connect = Callable[..., EtcdEngine]
ROOT = ("--user", "root:root-secret")
USER = {"user": "root", "password": "root-secret"}


def enable(server: Server, *options: str) -> None:
    server.etcdctl(*options, "user", "add", USER["user"] + ":" + USER["password"])
    server.etcdctl(*options, "role", "add", "root")
    server.etcdctl(*options, "user", "grant-role", "root", "root")
    server.etcdctl(*options, "auth", "enable")


@pytest.mark.parametrize("write", [True, False], ids=["writes", "reads"])
def test_a_store_that_begins_anew_accepts_a_new_login(server: Server, connect: Connect, write: bool) -> None:
    enable(server)
    engine = connect([server.endpoint], **USER)
    for number in range(100):  # the token of somebody who logs in now bears the number of a later request
        engine.put(PutRequest(b"a", b"%d" % number))
    late = connect([server.endpoint], **USER)
    late.put(PutRequest(b"a"))
    server.kill()
    server.wipe()
    server.start()
    server.wait_ready()
    enable(server)

    def works() -> bool:
        try:
            late.put(PutRequest(b"a", b"new"), timeout=2) if write else late.range(RangeRequest(b"a"), timeout=2)
        except EtcdAeroError:
            return False
        return True

    wait_until(works, 20, "a new login")


@pytest.fixture
def certified(tmp_path: Path) -> Iterator[tuple[Server, tuple[str, ...], Tls]]:
    """A server that takes the name in a client's certificate for the user of a request without a token."""
    directory = tmp_path / "authority"
    directory.mkdir()
    authority = Authority(directory)
    certificate, key = authority.issue("server")
    options = ["--cert-file", certificate, "--key-file", key, "--client-cert-auth"]
    options += ["--trusted-ca-file", authority.certificate]
    server = Server("certified", tmp_path / "certified", options=list(map(str, options)), tls=True)
    client, client_key = map(str, authority.issue("nobody"))
    ca = str(authority.certificate)
    shown = ("--cacert", ca, "--cert", client, "--key", client_key)
    with server.running(*shown):
        yield server, shown, Tls(ca=ca, cert=client, key=client_key)


def test_engines_that_show_certificates_go_on_when_authentication_is_enabled(
    certified: tuple[Server, tuple[str, ...], Tls], connect: Connect
) -> None:
    server, shown, tls = certified
    engine = connect([server.endpoint], tls=tls, **USER)
    seen = Recording()
    engine.watch(WatchRequest(b"a"), seen)
    engine.put(PutRequest(b"a", b"1"))
    enable(server, *shown)
    engine.put(PutRequest(b"a", b"2"), timeout=5)
    assert engine.range(RangeRequest(b"a"), timeout=5).kvs[0].value == b"2"
    assert short(seen.wait(2)) == ["+a=1", "+a=2"]
    assert engine.auth.status().enabled


def test_who_shows_a_certificate_is_logged_in_before_it_asks_about_members(
    certified: tuple[Server, tuple[str, ...], Tls], connect: Connect
) -> None:
    server, shown, tls = certified
    enable(server, *shown)
    (health,) = connect([server.endpoint], tls=tls, **USER).maintenance.health()
    assert (health.healthy, health.error) == (True, "")
    (status,) = connect([server.endpoint], tls=tls, **USER).maintenance.statuses()
    assert status.error == ""
    assert status.status is not None


def test_a_lack_of_permission_names_who_was_refused_what(server: Server, connect: Connect) -> None:
    enable(server)
    server.etcdctl(*ROOT, "user", "add", "web:web-secret")
    web = connect([server.endpoint], user="web", password="web-secret")
    with pytest.raises(PermissionDenied, match=r"permission denied: Put of b'shop/a' by user 'web'$"):
        web.put(PutRequest(b"shop/a"))
    exists = Compare(b"shop/b", CompareTarget.VERSION, CompareOp.GREATER, 0)
    for request in (TxnRequest([exists]), TxnRequest(failure=[RangeRequest(b"shop/b")])):
        with pytest.raises(PermissionDenied, match=r"permission denied: Txn of b'shop/b' by user 'web'$"):
            web.txn(request)
    with pytest.raises(PermissionDenied, match=r"permission denied: UserAdd by user 'web'$"):
        web.auth.user_add("other", password="secret")
