"""Users, roles and permissions, made through the engine and enforced by a real server."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from django_etcdaero.exceptions import (
    AlreadyExists,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    Unauthenticated,
)
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.administration import Auth, Permission, PermissionType, Role, User
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest, WatchRequest
from tests.keyvalue.etcd.servers import Server
from tests.keyvalue.etcd.test_auth import outlive_the_token
from tests.keyvalue.recording import Recording, short

Connect = Callable[..., EtcdEngine]

READ, WRITE, READWRITE = PermissionType.READ, PermissionType.WRITE, PermissionType.READWRITE


@pytest.fixture
def root(tmp_path: Path, connect: Connect) -> Iterator[EtcdEngine]:
    """An engine of the user root on a server of the test's own, which asks for passwords; tokens live a second."""
    with Server("guarded", tmp_path / "guarded", options=["--auth-token-ttl", "1"]).running() as server:
        engine = connect([server.endpoint], user="root", password="root-secret")
        patience = 30.0  # a server that has just started writes to a disk that others use too
        engine.auth.user_add("root", password="root-secret", timeout=patience)
        engine.auth.role_add("root", timeout=patience)
        engine.auth.user_grant_role("root", "root", timeout=patience)
        engine.auth.enable(timeout=patience)
        yield engine


@pytest.fixture
def auth(root: EtcdEngine) -> Auth:
    return root.auth


def log_in(root: EtcdEngine, connect: Connect, user: str, password: str) -> EtcdEngine:
    return connect([root.endpoint], user=user, password=password)


def add_user(auth: Auth, user: str, password: str = "app-secret") -> None:
    """Make a user with a role of the same name."""
    auth.user_add(user, password=password)
    auth.role_add(user)
    auth.user_grant_role(user, user)


# --- the lists -------------------------------------------------------------------------------------------------------


def test_users_and_roles_are_made_listed_shown_and_deleted(engine: EtcdEngine) -> None:
    auth = engine.auth
    assert not auth.status().enabled
    before = auth.status().revision
    auth.user_add("ann", password="ann-secret")
    auth.user_add("bob", password=None)
    auth.role_add("reader")
    auth.role_add("writer")
    auth.user_grant_role("ann", "reader")
    auth.user_grant_role("ann", "writer")
    auth.user_grant_role("ann", "writer")
    (member,) = engine.maintenance.statuses()
    assert member.status is not None
    tells_revision = not member.status.version.startswith("3.4.")
    assert (auth.status().revision > before) is tells_revision
    assert {"ann", "bob"} <= set(auth.user_list())
    assert {"reader", "writer"} <= set(auth.role_list())
    assert auth.user_get("ann") == User("ann", ("reader", "writer"))
    assert auth.user_get("bob") == User("bob", ())
    auth.user_revoke_role("ann", "reader")
    assert auth.user_get("ann").roles == ("writer",)
    auth.role_delete("writer")
    assert auth.user_get("ann").roles == ()
    auth.user_delete("ann")
    auth.user_delete("bob")
    auth.role_delete("reader")
    assert not {"ann", "bob"} & set(auth.user_list())
    assert not {"reader", "writer"} & set(auth.role_list())


def test_permissions_are_shown_as_they_were_granted_and_revoked(engine: EtcdEngine) -> None:
    auth = engine.auth
    auth.role_add("shown")
    auth.role_grant_permission("shown", "one", permission=READ)
    auth.role_grant_permission("shown", b"a", b"c", permission=WRITE)
    auth.role_grant_permission("shown", "shop/", prefix=True, permission=READWRITE)
    auth.role_grant_permission("shown", "z", b"\0", permission=READ)
    assert set(auth.role_get("shown").permissions) == {
        Permission(READ, b"one"),
        Permission(WRITE, b"a", b"c"),
        Permission(READWRITE, b"shop/", b"shop0"),
        Permission(READ, b"z", b"\0"),
    }
    auth.role_revoke_permission("shown", "one")
    auth.role_revoke_permission("shown", "a", "c")
    auth.role_revoke_permission("shown", "z", b"\0")
    auth.role_grant_permission("shown", "shop/", prefix=True, permission=READ)
    assert auth.role_get("shown") == Role("shown", (Permission(READ, b"shop/", b"shop0"),))
    auth.role_delete("shown")


def test_what_exists_twice_or_not_at_all_is_told_apart(engine: EtcdEngine) -> None:
    auth = engine.auth
    auth.user_add("known", password="app-secret")
    auth.role_add("known")
    for twice in (lambda: auth.user_add("known", password="other-secret"), lambda: auth.role_add("known")):
        with pytest.raises(AlreadyExists, match="already exists"):
            twice()
    for missing in (
        lambda: auth.user_get("nobody"),
        lambda: auth.user_delete("nobody"),
        lambda: auth.user_change_password("nobody", password="other-secret"),
        lambda: auth.user_grant_role("nobody", "known"),
        lambda: auth.user_grant_role("known", "nothing"),
        lambda: auth.user_revoke_role("known", "known"),
        lambda: auth.role_get("nothing"),
        lambda: auth.role_delete("nothing"),
        lambda: auth.role_grant_permission("nothing", "a", permission=READ),
        lambda: auth.role_revoke_permission("known", "a"),
    ):
        with pytest.raises(NotFound, match=r"not found|is not granted"):
            missing()
    auth.user_delete("known")
    auth.role_delete("known")


def test_authentication_is_not_enabled_without_a_root_user_who_could_disable_it(
    server: Server, connect: Connect
) -> None:
    auth = connect([server.endpoint]).auth
    with pytest.raises(FailedPrecondition, match="root user does not exist"):
        auth.enable()
    auth.user_add("root", password="root-secret")
    with pytest.raises(FailedPrecondition, match="root user does not have root role"):
        auth.enable()
    assert not auth.status().enabled


def test_bad_arguments_are_named_and_passwords_not_quoted(engine: EtcdEngine) -> None:
    auth = engine.auth
    for call, argument in (
        (lambda: auth.user_add("", password="x"), "name"),
        (lambda: auth.user_add(b"ann", password="x"), "name"),  # type: ignore[arg-type]
        (lambda: auth.user_add("ann", password=""), "password"),
        (lambda: auth.user_add("ann", password="secret\ud800"), "password"),
        (lambda: auth.user_add("ann", password=b"secret"), "password"),  # type: ignore[arg-type]
        (lambda: auth.user_change_password("ann", password=None), "password"),  # type: ignore[arg-type]
        (lambda: auth.user_grant_role("ann", ""), "role"),
        (lambda: auth.role_grant_permission("r", "a", permission=3), "permission"),  # type: ignore[arg-type]
        (lambda: auth.role_grant_permission("r", "", permission=READ), "key"),
        (lambda: auth.role_grant_permission("r", "a", "b", prefix=True, permission=READ), "range_end"),
    ):
        with pytest.raises(InvalidRequest, match=argument) as caught:
            call()
        assert "secret" not in repr(caught.value)


# --- in force --------------------------------------------------------------------------------------------------------


def test_a_user_may_do_what_was_granted_and_nothing_else(root: EtcdEngine, connect: Connect) -> None:
    add_user(root.auth, "app")
    app = log_in(root, connect, "app", "app-secret")
    root.put(PutRequest(b"shop/a", b"1"))
    with pytest.raises(PermissionDenied):
        app.range(RangeRequest(b"shop/a"))
    root.auth.role_grant_permission("app", "shop/", prefix=True, permission=READ)
    assert app.range(RangeRequest(b"shop/", b"shop0")).count == 1
    with pytest.raises(PermissionDenied):
        app.put(PutRequest(b"shop/a", b"2"))
    root.auth.role_grant_permission("app", "shop/a", permission=WRITE)
    app.put(PutRequest(b"shop/a", b"2"))
    with pytest.raises(PermissionDenied):
        app.put(PutRequest(b"shop/ab", b"2"))
    root.auth.role_revoke_permission("app", "shop/a")
    with pytest.raises(PermissionDenied):
        app.put(PutRequest(b"shop/a", b"3"))
    with pytest.raises(PermissionDenied):
        app.auth.user_add("mallory", password="x")
    assert [each.healthy for each in app.maintenance.health()] == [True]  # to be refused is an answer too


def test_the_prefix_of_a_client_names_exactly_its_keys(root: EtcdEngine, connect: Connect) -> None:
    add_user(root.auth, "app")
    kv = KV(log_in(root, connect, "app", "app-secret"), prefix="shop/")
    root.auth.role_grant_permission("app", kv.prefix, prefix=True, permission=READWRITE)
    with kv.lock("nightly", timeout=10):
        kv.put("config", "1")
        assert kv.range("", prefix=True).count == 2
    for neighbour in (b"shop", b"shop0", b"other"):
        with pytest.raises(PermissionDenied):
            kv.engine.range(RangeRequest(neighbour))
    kv.close()


def test_a_permission_for_all_keys_can_be_granted(root: EtcdEngine, connect: Connect) -> None:
    add_user(root.auth, "all")
    root.auth.role_grant_permission("all", "", prefix=True, permission=READ)
    assert log_in(root, connect, "all", "app-secret").range(RangeRequest(b"\0", b"\0")).count == 0


def test_a_user_without_password_cannot_log_in_with_one(root: EtcdEngine, connect: Connect) -> None:
    root.auth.user_add("certified", password=None)
    for password in ("", "x"):
        with pytest.raises(Unauthenticated):
            log_in(root, connect, "certified", password).range(RangeRequest(b"a"))


def test_a_password_that_is_changed_shuts_its_users_out_until_they_know_the_new_one(
    root: EtcdEngine, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    add_user(root.auth, "app")
    root.auth.role_grant_permission("app", "a", permission=READWRITE)
    before = log_in(root, connect, "app", "app-secret")
    before.put(PutRequest(b"a", b"1"))
    root.auth.user_change_password("app", password="new-secret")
    texts = []
    for call in (
        lambda: before.put(PutRequest(b"a", b"2")),
        lambda: before.range(RangeRequest(b"a")),
        lambda: before.watch(WatchRequest(b"a"), Recording()),
        lambda: before.maintenance.health(),
        lambda: before.auth.user_list(),
    ):
        with pytest.raises(Unauthenticated, match="authentication failed") as caught:
            call()
        texts += [repr(caught.value), repr(caught.value.__cause__), repr(caught.value.__context__)]
    after = log_in(root, connect, "app", "new-secret")
    after.put(PutRequest(b"a", b"3"))
    root.auth.user_change_password("app", password="app-secret")
    before.put(PutRequest(b"a", b"4"))
    assert "secret" not in "".join([*texts, caplog.text, repr(after), repr(root.auth)])


def test_authentication_that_is_enabled_shuts_out_clients_without_a_user(server: Server, connect: Connect) -> None:
    nobody, root = connect([server.endpoint]), connect([server.endpoint], user="root", password="root-secret")
    nobody.put(PutRequest(b"a", b"1"))
    root.auth.user_add("root", password="root-secret")
    root.auth.role_add("root")
    root.auth.user_grant_role("root", "root")
    root.auth.enable()
    assert root.auth.status().enabled
    for call in (
        lambda: nobody.put(PutRequest(b"a", b"2")),
        lambda: nobody.auth.disable(),
        lambda: nobody.maintenance.health(),
    ):
        with pytest.raises(Unauthenticated, match="user name is empty"):
            call()
    root.auth.disable()
    nobody.put(PutRequest(b"a", b"3"))
    assert not root.auth.status().enabled


def test_all_kinds_of_calls_renew_a_token_that_has_run_out(root: EtcdEngine, connect: Connect, tmp_path: Path) -> None:
    endpoint = root.endpoint
    for call in (
        lambda: root.auth.user_list(),
        lambda: root.maintenance.defragment(endpoint),
        lambda: root.maintenance.snapshot(tmp_path / "backup.db"),
        lambda: root.maintenance.health(),
    ):
        outlive_the_token(root)
        call()
    assert (tmp_path / "backup.db").exists()


def test_a_user_that_is_deleted_while_it_works_is_shut_out(root: EtcdEngine, connect: Connect) -> None:
    add_user(root.auth, "app")
    root.auth.role_grant_permission("app", "a", permission=READWRITE)
    app = log_in(root, connect, "app", "app-secret")
    seen = Recording()
    app.watch(WatchRequest(b"a"), seen)
    app.put(PutRequest(b"a", b"1"))
    assert short(seen.wait(1)) == ["+a=1"]
    root.auth.user_delete("app")
    with pytest.raises((Unauthenticated, PermissionDenied)):
        app.put(PutRequest(b"a", b"2"))


def test_a_change_whose_answer_is_lost_is_not_repeated(server: Server, connect: Connect) -> None:
    engine = connect([server.endpoint])
    engine.auth.role_list()
    server.signal(signal.SIGSTOP)
    with pytest.raises(OutcomeUnknown):
        engine.auth.role_add("perhaps", timeout=0.5)
    server.signal(signal.SIGCONT)
    assert set(engine.auth.role_list()) <= {"perhaps"}
