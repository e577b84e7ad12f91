"""The administration for event loops: the same calls by the same names with an ``a`` before them, on a real cluster."""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from django_etcdaero.exceptions import (
    AlreadyExists,
    Cancelled,
    ClusterError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from django_etcdaero.keyvalue.administration import Auth, Cluster, Maintenance, PermissionType
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import PutRequest
from tests.keyvalue.etcd import servers
from tests.keyvalue.etcd.servers import Server
from tests.keyvalue.etcd.test_administration_members import allowed
from tests.waiting import wait_until

At = Callable[[str], bytes]
Connect = Callable[..., EtcdEngine]


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(90):
            await scenario()

    asyncio.run(bounded())


def public_methods(kind: type) -> dict[str, Any]:
    return {name: value for name, value in inspect.getmembers(kind, callable) if not name.startswith("_")}


@pytest.mark.parametrize("kind", [Auth, Cluster, Maintenance], ids=lambda kind: kind.__name__)
def test_each_method_has_a_twin_with_the_same_parameters(kind: type) -> None:
    methods = public_methods(kind)
    methods.pop("endpoints", None)  # makes no call
    awaitable = {name: value for name, value in methods.items() if inspect.iscoroutinefunction(value)}
    blocking = {name: value for name, value in methods.items() if name not in awaitable}
    assert blocking
    assert set(awaitable) == {f"a{name}" for name in blocking}
    for name, method in blocking.items():
        assert method.__name__ == name
        assert awaitable[f"a{name}"].__name__ == f"a{name}"
        assert inspect.signature(method) == inspect.signature(awaitable[f"a{name}"])


def test_users_and_roles_are_made_and_enforced(server: Server, connect: Connect) -> None:
    root = connect([server.endpoint], user="root", password="root-secret")
    auth = root.auth

    async def scenario() -> None:
        assert not (await auth.astatus()).enabled
        with pytest.raises(FailedPrecondition):
            await auth.aenable(timeout=30)
        for name in ("root", "app"):
            await auth.auser_add(name, password=f"{name}-secret", timeout=30)
            await auth.arole_add(name)
            await auth.auser_grant_role(name, name)
        with pytest.raises(AlreadyExists):
            await auth.arole_add("app")
        with pytest.raises(InvalidRequest):
            await auth.auser_add("", password="x")
        await auth.arole_grant_permission("app", "app/", prefix=True, permission=PermissionType.READWRITE)
        assert await auth.auser_list() == ("app", "root")
        assert await auth.arole_list() == ("app", "root")
        assert await auth.auser_get("app") == auth.user_get("app")
        assert await auth.arole_get("app") == auth.role_get("app")
        await auth.aenable(timeout=30)
        assert (await auth.astatus()).enabled
        app = connect([server.endpoint], user="app", password="app-secret")
        await app.aput(PutRequest(b"app/a", b"1"), timeout=30)
        with pytest.raises(PermissionDenied):
            await app.aput(PutRequest(b"other", b"1"), timeout=30)
        with pytest.raises(PermissionDenied):
            await app.auth.auser_list()
        await auth.auser_change_password("app", password="new-secret")
        stranger = connect([server.endpoint], user="app", password="app-secret")
        with pytest.raises(Unauthenticated):
            await stranger.auth.auser_get("app", timeout=30)
        with pytest.raises(Unauthenticated):
            await stranger.maintenance.ahealth(timeout=30)
        await auth.arole_revoke_permission("app", "app/", prefix=True)
        await auth.auser_revoke_role("app", "app")
        await auth.auser_delete("app")
        await auth.arole_delete("app")
        with pytest.raises(NotFound):
            await auth.auser_get("app")
        await auth.adisable()
        assert not (await auth.astatus()).enabled

    run(scenario)


def test_members_and_their_status_are_those_of_the_blocking_calls(cluster: servers.Cluster, connect: Connect) -> None:
    engine = connect(cluster.endpoints)
    maintenance = engine.maintenance

    def add_a_member_that_is_there() -> None:
        with pytest.raises(AlreadyExists):
            engine.cluster.add(engine.cluster.members()[0].peer_urls)

    allowed(add_a_member_that_is_there)

    async def scenario() -> None:
        written = (await engine.aput(PutRequest(b"a", b"1"), timeout=30)).revision
        members = await engine.cluster.amembers(timeout=30)
        assert members == engine.cluster.members()
        with pytest.raises(NotFound):
            await engine.cluster.aremove(4711)
        with pytest.raises(NotFound):
            await engine.cluster.apromote(4711)
        with pytest.raises(NotFound):
            await engine.cluster.aupdate(4711, ["http://127.0.0.1:1"])
        with pytest.raises(AlreadyExists):
            await engine.cluster.aadd(members[0].peer_urls)
        health = await maintenance.ahealth(timeout=30)
        assert [(each.endpoint, each.healthy) for each in health] == [
            (each, True) for each in sorted(cluster.endpoints)
        ]
        statuses = await maintenance.astatuses(timeout=30)
        assert [each.endpoint for each in statuses] == sorted(cluster.endpoints)
        assert (await maintenance.astatus(timeout=30)).endpoint == engine.endpoint
        leader = next(each.status for each in statuses if each.status is not None and each.status.is_leader)
        other = next(each for each in members if each.id != leader.member_id)
        await maintenance.amove_leader(other.id, timeout=30)
        assert (await maintenance.astatus(timeout=30)).leader == other.id
        assert await maintenance.aalarms() == ()
        assert await maintenance.adisarm() == ()
        await maintenance.adefragment(cluster.endpoints[0], timeout=60)
        # Not of an earlier revision: other tests compact.
        first, second = [
            await maintenance.ahash_kv(each, revision=written, timeout=30) for each in cluster.endpoints[:2]
        ]
        assert first.hash == second.hash
        assert first == maintenance.hash_kv(cluster.endpoints[0], revision=written)

    run(scenario)


def test_a_frozen_member_holds_up_neither_the_loop_nor_the_others(cluster: servers.Cluster, connect: Connect) -> None:
    frozen = next(server for server in cluster.members if server is not cluster.leader())
    maintenance = connect(cluster.endpoints).maintenance

    async def scenario() -> None:
        await maintenance.ahealth(timeout=30)
        frozen.signal(signal.SIGSTOP)
        asking = asyncio.create_task(maintenance.ahealth(timeout=1))
        ticks = 0
        while not asking.done():
            ticks += 1
            await asyncio.sleep(0.01)
        assert ticks > 20
        found = {each.endpoint: each for each in asking.result()}
        assert not found.pop(frozen.endpoint).reachable
        assert all(each.healthy for each in found.values())
        with pytest.raises((DeadlineExceeded, ClusterError)):
            await maintenance.astatus(frozen.endpoint, timeout=0.5)

    run(scenario)


def test_a_cancelled_question_leaves_nothing_under_way(server: Server, connect: Connect) -> None:
    engine = connect([server.endpoint])

    async def scenario() -> None:
        await engine.maintenance.ahealth(timeout=30)
        server.signal(signal.SIGSTOP)
        calls: list[Awaitable[object]] = [
            engine.maintenance.astatus(timeout=60),
            engine.cluster.amembers(timeout=60),
            engine.auth.auser_list(timeout=60),
        ]
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert engine._gate.wait_empty(10)
        server.signal(signal.SIGCONT)

    run(scenario)


# --- backups ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(server: Server, connect: Connect) -> EtcdEngine:
    engine = connect([server.endpoint])
    for number in range(16):
        engine.put(PutRequest(b"%d" % number, bytes(1 << 20)))
    return engine


def test_a_backup_is_verified_and_the_loop_is_free_meanwhile(filled: EtcdEngine, tmp_path: Path) -> None:
    path = tmp_path / "backup"
    seen: list[tuple[int, int]] = []
    threads: set[str] = set()

    def progress(received: int, expected: int) -> None:
        seen.append((received, expected))
        threads.add(threading.current_thread().name)

    async def scenario() -> None:
        found = await filled.maintenance.asnapshot(path, progress=progress, timeout=60)
        assert found.path == path
        assert path.stat().st_size == found.size
        assert seen[-1] == (found.size, found.size)
        assert threads == {"etcdaero-async"}
        assert [each.name for each in tmp_path.iterdir() if each.name != "own"] == ["backup"]

    run(scenario)


def test_a_cancelled_backup_leaves_no_file_and_ends_its_call(filled: EtcdEngine, tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(received: int, expected: int) -> None:
        begun.set()
        go_on.wait(30)

    async def scenario() -> None:
        task = asyncio.create_task(filled.maintenance.asnapshot(tmp_path / "backup", progress=wait, timeout=60))
        await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await asyncio.to_thread(wait_until, lambda: filled._gate.wait_empty(0))
        assert [each.name for each in tmp_path.iterdir() if each.name != "own"] == []

    run(scenario)


def test_an_error_of_the_callback_is_the_callers(filled: EtcdEngine, tmp_path: Path) -> None:
    def refuse(received: int, expected: int) -> None:
        raise ValueError("enough")

    async def scenario() -> None:
        with pytest.raises(ValueError, match="enough"):
            await filled.maintenance.asnapshot(tmp_path / "backup", progress=refuse)

    run(scenario)


def test_a_backup_ends_when_the_engine_is_closed(filled: EtcdEngine, tmp_path: Path) -> None:
    begun, closed = threading.Event(), threading.Event()

    def wait(received: int, expected: int) -> None:
        begun.set()
        closed.wait(30)

    async def scenario() -> None:
        task = asyncio.create_task(filled.maintenance.asnapshot(tmp_path / "backup", progress=wait, timeout=60))
        await asyncio.to_thread(begun.wait, 30)
        closing = asyncio.create_task(asyncio.to_thread(filled.close))
        await asyncio.to_thread(wait_until, lambda: filled._gate.is_shut)
        closed.set()
        with pytest.raises(Cancelled):
            await task
        await closing
        with pytest.raises(Cancelled):
            await filled.maintenance.astatus()

    run(scenario)
