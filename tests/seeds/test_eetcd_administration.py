"""What eetcd's suites cluster, maintenance and auth (switched off there) assert, on real servers.

Each test begins with the name of the case there. Stores without servers say that they have nothing to administer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from django_etcdaero.exceptions import (
    AlreadyExists,
    InvalidRequest,
    NotFound,
    NotSupported,
    PermissionDenied,
    Unauthenticated,
)
from django_etcdaero.keyvalue import KV, Engine
from django_etcdaero.keyvalue.administration import PermissionType
from tests.keyvalue.etcd.servers import Cluster, Server
from tests.waiting import wait_until

ClientOf = Callable[..., KV]


@pytest.mark.parametrize("engine", ["mem", "sqlite"], indirect=True)
def test_without_servers_administration_is_not_supported(kv: KV, engine: Engine) -> None:
    for part in ("cluster", "auth", "maintenance"):
        with pytest.raises(NotSupported, match=engine.info.kind):
            getattr(kv, part)


# --- the cluster -----------------------------------------------------------------------------------------------------


def test_member_list_tells_every_member_and_how_to_reach_it(cluster: Cluster, client_of: ClientOf) -> None:
    members = client_of(*cluster.members).cluster.members()
    assert {member.name for member in members} == {member.name for member in cluster.members}
    assert {url for member in members for url in member.client_urls} == {
        f"http://{member.endpoint}" for member in cluster.members
    }
    assert not any(member.is_learner for member in members)
    assert len({member.id for member in members}) == 3


def test_member_add_as_learner_update_and_remove(server: Server, client_of: ClientOf) -> None:
    cluster = client_of(server).cluster
    with pytest.raises(InvalidRequest):
        cluster.add(["no url"])
    added = cluster.add(["http://127.0.0.1:9"], learner=True)
    assert (added.is_learner, added.name) == (True, "")
    cluster.update(added.id, ["http://127.0.0.1:10"])
    assert {member.peer_urls for member in cluster.members()} >= {("http://127.0.0.1:10",)}
    cluster.remove(added.id)
    assert len(cluster.members()) == 1
    with pytest.raises(NotFound):
        cluster.remove(added.id)


# --- maintenance -----------------------------------------------------------------------------------------------------


def test_smoke_test_defragment_status_and_hash_kv_of_each_member(cluster: Cluster, client_of: ClientOf) -> None:
    kv = client_of(*cluster.members)
    kv.put("smoke", "1")
    revision = kv.range("smoke").revision
    statuses = [kv.maintenance.status(endpoint) for endpoint in cluster.endpoints]
    assert len({status.leader for status in statuses}) == 1
    assert [status.is_leader for status in statuses].count(True) == 1
    assert all(status.db_size > 0 and not status.errors for status in statuses)
    hashes = [kv.maintenance.hash_kv(endpoint, revision=revision) for endpoint in cluster.endpoints]
    assert len({(each.hash, each.compact_revision) for each in hashes}) == 1
    for endpoint in cluster.endpoints:
        kv.maintenance.defragment(endpoint)
    assert kv.maintenance.alarms() == ()
    assert kv.maintenance.disarm() == ()
    assert all(each.healthy for each in kv.maintenance.health(timeout=20))


def test_smoke_test_move_leader(cluster: Cluster, client_of: ClientOf) -> None:
    kv = client_of(*cluster.members)
    statuses = [kv.maintenance.status(endpoint) for endpoint in cluster.endpoints]
    follower = next(status.member_id for status in statuses if not status.is_leader)
    kv.maintenance.move_leader(follower)
    wait_until(
        lambda: {kv.maintenance.status(endpoint).leader for endpoint in cluster.endpoints} == {follower},
        what="all members to know the new leader",
    )


# --- users and roles -------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(server: Server, client_of: ClientOf) -> Iterator[Server]:
    """A server that asks for users: ``root``, and ``app`` who may read and write below ``app/``."""
    auth = client_of(server).auth
    auth.user_add("root", password="pw-root")
    auth.user_grant_role("root", "root")
    auth.role_add("app")
    auth.role_grant_permission("app", "app/", prefix=True, permission=PermissionType.READWRITE)
    auth.user_add("app", password="pw-app")
    auth.user_grant_role("app", "app")
    auth.enable()
    yield server
    client_of(server, user="root", password="pw-root").auth.disable()


def test_auth_is_asked_for_once_it_is_enabled_and_no_longer_when_disabled(guarded: Server, client_of: ClientOf) -> None:
    anonymous = client_of(guarded)
    with pytest.raises((Unauthenticated, PermissionDenied, InvalidRequest)):
        anonymous.put("app/a", "1")
    with pytest.raises(Unauthenticated):
        client_of(guarded, user="app", password="wrong").put("app/a", "1")
    app = client_of(guarded, user="app", password="pw-app")
    app.put("app/a", "1")
    with pytest.raises(PermissionDenied):
        app.get("other")
    root = client_of(guarded, user="root", password="pw-root")
    assert root.auth.status().enabled
    root.auth.disable()
    anonymous.put("other", "1")
    root.auth.enable()


def test_auth_of_a_role_can_be_narrowed_and_taken_back(guarded: Server, client_of: ClientOf) -> None:
    root = client_of(guarded, user="root", password="pw-root")
    app = client_of(guarded, user="app", password="pw-app")
    root.auth.role_grant_permission("app", "app/", prefix=True, permission=PermissionType.READ)
    app.get("app/a")
    with pytest.raises(PermissionDenied):
        app.put("app/a", "1")
    (permission,) = root.auth.role_get("app").permissions
    assert (permission.type, permission.key, permission.range_end) == (PermissionType.READ, b"app/", b"app0")
    root.auth.role_revoke_permission("app", "app/", prefix=True)
    with pytest.raises(PermissionDenied):
        app.get("app/a")


def test_user_and_role_are_added_listed_changed_and_deleted(server: Server, client_of: ClientOf) -> None:
    auth = client_of(server).auth
    auth.user_add("ada", password="1")
    auth.user_add("cert", password=None)
    auth.role_add("reader")
    assert auth.user_list() == ("ada", "cert")
    assert auth.role_list() == ("reader",)
    with pytest.raises(AlreadyExists):
        auth.user_add("ada", password="2")
    auth.user_change_password("ada", password="2")
    auth.user_grant_role("ada", "reader")
    assert auth.user_get("ada").roles == ("reader",)
    auth.user_revoke_role("ada", "reader")
    assert auth.user_get("ada").roles == ()
    auth.user_delete("cert")
    auth.role_delete("reader")
    assert (auth.user_list(), auth.role_list()) == (("ada",), ())
    for missing in (lambda: auth.user_get("cert"), lambda: auth.role_get("reader")):
        with pytest.raises(NotFound):
            missing()
