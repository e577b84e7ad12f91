"""Users, passwords and tokens."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import grpc
import pytest

from django_etcdaero.exceptions import PermissionDenied, Unauthenticated
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.etcd.messages.classes import rpc
from django_etcdaero.keyvalue.values import DeleteRequest, PutRequest, RangeRequest, TxnRequest, WatchLost, WatchRequest
from tests.keyvalue.etcd.servers import Server
from tests.keyvalue.recording import Recording, short
from tests.waiting import wait_until

Connect = Callable[..., EtcdEngine]
ROOT = ("--user", "root:root-secret")
TOKEN_TTL = 1.0


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks for passwords and whose tokens live one second; ``app`` may use the keys ``app/…`` only."""
    with Server("guarded", tmp_path_factory.mktemp("guarded"), options=["--auth-token-ttl", "1"]).running() as server:
        server.etcdctl("user", "add", "root:root-secret")
        server.etcdctl("role", "add", "root")
        server.etcdctl("user", "grant-role", "root", "root")
        server.etcdctl("user", "add", "app:app-secret")
        server.etcdctl("role", "add", "app")
        server.etcdctl("role", "grant-permission", "app", "readwrite", "app/", "app0")
        server.etcdctl("user", "grant-role", "app", "app")
        server.etcdctl("auth", "enable")
        yield server


@pytest.fixture
def app(guarded: Server, connect: Connect) -> EtcdEngine:
    return connect([guarded.endpoint], user="app", password="app-secret")


def outlive_the_token(engine: EtcdEngine) -> None:
    """Wait until the server has forgotten the token that ``engine`` has."""
    member = engine.client()

    def forgotten() -> bool:
        # Each use of a token prolongs it, so it is left alone for longer than it lives.
        threading.Event().wait(TOKEN_TTL * 2.5)
        try:
            member.calls["Range"](rpc.RangeRequest(key=b"app/a"), 5.0, member.metadata)
        except grpc.RpcError as error:
            return "invalid auth token" in error.details()
        return False

    wait_until(forgotten, 30, "the end of the token")


def test_a_user_with_its_password_may_do_what_its_role_says(app: EtcdEngine) -> None:
    app.put(PutRequest(b"app/a", b"1"))
    assert app.range(RangeRequest(b"app/", b"app0")).kvs[0].value == b"1"
    for call in (
        lambda: app.put(PutRequest(b"other")),
        lambda: app.range(RangeRequest(b"other")),
        lambda: app.delete_range(DeleteRequest(b"a", b"z")),
        lambda: app.txn(TxnRequest(success=[PutRequest(b"other")])),
    ):
        with pytest.raises(PermissionDenied, match="permission denied"):
            call()


def test_calls_renew_a_token_that_has_run_out(app: EtcdEngine, guarded: Server) -> None:
    app.put(PutRequest(b"app/a", b"1"))
    lease = app.lease_grant(60).id
    outlive_the_token(app)
    errors: list[Exception] = []

    def work() -> None:
        try:
            app.put(PutRequest(b"app/a", b"2"))
            assert app.lease_keep_alive(lease) == 60
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []


def test_watches_go_on_and_new_ones_start_after_the_token_has_run_out(app: EtcdEngine, guarded: Server) -> None:
    first, second = Recording(), Recording()
    app.watch(WatchRequest(b"app/a"), first)
    outlive_the_token(app)
    app.watch(WatchRequest(b"app/b"), second)
    app.put(PutRequest(b"app/a", b"1"))
    app.put(PutRequest(b"app/b", b"2"))
    assert short(first.wait(1)) == ["+a=1"]
    assert short(second.wait(1)) == ["+b=2"]


def test_a_watch_without_permission_is_refused_and_others_go_on(app: EtcdEngine) -> None:
    allowed, refused = Recording(), Recording()
    app.watch(WatchRequest(b"app/a"), allowed)
    app.watch(WatchRequest(b"other"), refused)
    assert refused.wait_lost() is WatchLost.REFUSED
    app.put(PutRequest(b"app/a", b"1"))
    assert short(allowed.wait(1)) == ["+a=1"]


@pytest.mark.parametrize("password", ["wrong-secret", ""])
def test_a_wrong_password_is_told_and_never_shown(
    guarded: Server, connect: Connect, caplog: pytest.LogCaptureFixture, password: str
) -> None:
    caplog.set_level(logging.DEBUG)
    engine = connect([guarded.endpoint], user="app", password=password)
    texts = [repr(engine), str(engine.info)]
    for call in (
        lambda: engine.range(RangeRequest(b"app/a")),
        lambda: engine.put(PutRequest(b"app/a")),
        lambda: engine.watch(WatchRequest(b"app/a"), Recording()),
    ):
        with pytest.raises(Unauthenticated) as caught:
            call()
        texts += [repr(caught.value), repr(caught.value.__cause__)]
    assert not any("wrong-secret" in text for text in [*texts, caplog.text])


def test_without_a_user_a_guarded_server_refuses(guarded: Server, connect: Connect) -> None:
    engine = connect([guarded.endpoint])
    with pytest.raises(Unauthenticated, match="user name is empty"):
        engine.put(PutRequest(b"app/a"))
    with pytest.raises(Unauthenticated, match="user name is empty"):
        engine.watch(WatchRequest(b"app/a"), Recording())


def test_an_engine_whose_first_watch_is_refused_can_watch_other_keys(app: EtcdEngine) -> None:
    refused, allowed = Recording(), Recording()
    app.watch(WatchRequest(b"other"), refused)
    assert refused.wait_lost() is WatchLost.REFUSED
    app.watch(WatchRequest(b"app/a"), allowed)
    app.put(PutRequest(b"app/a", b"1"))
    assert short(allowed.wait(1)) == ["+a=1"]


def test_authentication_may_be_enabled_while_engines_are_at_work(server: Server, connect: Connect) -> None:
    engine = connect([server.endpoint], user="root", password="root-secret")
    seen, later = Recording(), Recording()
    engine.put(PutRequest(b"a", b"1"))
    engine.watch(WatchRequest(b"a"), seen)
    server.etcdctl("user", "add", "root:root-secret")
    server.etcdctl("role", "add", "root")
    server.etcdctl("user", "grant-role", "root", "root")
    server.etcdctl("auth", "enable")
    engine.put(PutRequest(b"a", b"2"))
    engine.watch(WatchRequest(b"b"), later)
    engine.put(PutRequest(b"b", b"3"))
    assert short(seen.wait(1)) == ["+a=2"]
    assert short(later.wait(1)) == ["+b=3"]


def test_a_restart_of_the_server_which_forgets_all_tokens_is_survived(app: EtcdEngine, guarded: Server) -> None:
    seen = Recording()
    app.watch(WatchRequest(b"app/a"), seen)
    guarded.kill()
    guarded.start()
    guarded.wait_ready(*ROOT)
    app.put(PutRequest(b"app/a", b"1"), timeout=20)
    assert short(seen.wait(1, 20)) == ["+a=1"]
    wait_until(lambda: app.range(RangeRequest(b"app/a")).kvs, what="a read")
