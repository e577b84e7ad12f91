"""What only a real etcd can show."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from django_etcdaero.exceptions import ClusterError, PermissionDenied, StoreFull
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import RangeRequest
from django_etcdaero.records.arguments import MAX_KEY_BYTES
from django_etcdaero.records.etcd import EtcdStore, leases
from django_etcdaero.records.store import Record
from django_etcdaero.schemes import open_store as open_store_at
from django_etcdaero.schemes import parse
from django_etcdaero.stores.address import Plane
from django_etcdaero.stores.etcd_records import MOST_VALUE_BYTES
from tests.keyvalue.etcd.servers import Server
from tests.paths import ROOT
from tests.waiting import wait_until

pytestmark = pytest.mark.servers

_numbers = itertools.count()


@pytest.fixture
def engine(shared_server: Server) -> Iterator[EtcdEngine]:
    engine = EtcdEngine([shared_server.endpoint])
    yield engine
    engine.close()


@pytest.fixture
def open_store(engine: EtcdEngine) -> Iterator[Callable[..., EtcdStore]]:
    room = f"real-{next(_numbers)}/records/"
    yield lambda **options: EtcdStore(engine, room, **{"owned": False} | options)
    EtcdStore(engine, room, owned=False).truncate()


def test_the_server_takes_the_largest_transactions(open_store: Callable[..., EtcdStore]) -> None:
    store = open_store(max_value_bytes=MOST_VALUE_BYTES)
    large = {b"%d" % number * MAX_KEY_BYTES: b"x" * MOST_VALUE_BYTES for number in range(3)}
    many = {b"%03d" % number + b"k" * (MAX_KEY_BYTES - 3): b"x" * 18_000 for number in range(200)}
    for items in (large, many):
        store.put_many(items, ttl=3600)
        assert store.touch_many(dict.fromkeys(items), None) == set(items)
        assert store.get_many(items) == {key: Record(value, 2, None) for key, value in items.items()}
        assert store.delete_many(items) == len(items)


def test_the_server_sweeps_what_has_expired(
    open_store: Callable[..., EtcdStore], engine: EtcdEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "SPARE", 0)
    monkeypatch.setattr(leases, "MINUTE", 2000)
    store = open_store()
    store.put_many({b"%d" % number: b"v" for number in range(100)}, ttl=1)
    store.put(b"stays", b"v", ttl=3600)
    (room,) = store.info.details.values()

    def keys() -> int:
        found = engine.range(RangeRequest(room.encode(), room.encode() + b"\xff", count_only=True))
        return found.count

    wait_until(lambda: keys() == 2, 30, "the sweeping of a hundred records")
    assert [key for key, _ in store.scan()] == [b"stays"]


def test_stores_of_several_processes_share_the_leases(
    shared_server: Server, open_store: Callable[..., EtcdStore], engine: EtcdEngine
) -> None:
    (room,) = open_store().info.details.values()
    program = """if True:
        import sys
        from django_etcdaero.keyvalue.etcd import EtcdEngine
        from django_etcdaero.records.etcd import EtcdStore
        store = EtcdStore(EtcdEngine([sys.argv[1]]), sys.argv[2], clock=lambda: 4_000_000_000.0)
        store.put_many({b"%s-%d" % (sys.argv[3].encode(), number): b"" for number in range(100)}, ttl=60)
        store.close()
    """
    before = len(engine.lease_list())
    for name in ("a", "b", "c"):
        command = [sys.executable, "-W", "error", "-c", program, shared_server.endpoint, room, name]
        subprocess.run(command, check=True, timeout=60, cwd=ROOT)
    assert len(engine.lease_list()) == before + 1
    assert len(open_store(clock=lambda: 4_000_000_010.0).exists_many([b"a-5", b"b-99", b"c-0"])) == 3


def test_a_store_without_a_server_says_so_in_time(server: Server) -> None:
    store = EtcdStore(EtcdEngine([server.endpoint]), "room/")
    store.put(b"k", b"v", ttl=60)
    server.kill()
    for call in (
        lambda: store.get(b"k", timeout=0.5),
        lambda: store.put(b"k", b"v", timeout=0.5),
        lambda: store.put_many({b"k": b"v"}, ttl=7200, timeout=0.5),
        lambda: next(store.scan(timeout=0.5)),
    ):
        with pytest.raises(ClusterError):
            call()
    server.start()
    server.wait_ready()

    def answers() -> bool:
        # An outage that is known is told at once, until gRPC has connected again (it waits longer after each failure).
        try:
            return store.get(b"k").value == b"v"
        except ClusterError:
            return False

    wait_until(answers, timeout=30, what="an answer after the server came back")
    store.close()


def test_a_store_whose_server_was_emptied_grants_its_leases_anew(server: Server) -> None:
    engine = EtcdEngine([server.endpoint])
    store = EtcdStore(engine, "room/")
    store.put(b"k", b"v", ttl=3600)
    server.kill()
    server.wipe()
    server.start()
    server.wait_ready()
    store.put(b"k", b"w", ttl=3600)
    assert store.get(b"k").value == b"w"
    assert len(engine.lease_list()) == 1
    store.close()


def test_a_server_whose_quota_is_used_up_is_full(tmp_path: Path) -> None:
    with Server("small", tmp_path / "small", options=["--quota-backend-bytes", "2000000"]).running() as server:
        store = EtcdStore(EtcdEngine([server.endpoint]), "room/")
        history = (store.put(b"k", b"x" * 500_000) for _ in range(200))  # its size is known after each commit only
        with pytest.raises(StoreFull, match="space exceeded"):
            list(history)
        assert store.get(b"k") is not None
        store.close()


def test_children_of_a_process_whose_threads_are_calling(shared_server: Server, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("w") as stdout, err.open("w") as stderr:  # no pipes: a child that hangs would keep them open
        code = subprocess.call(
            # Python 3.12 and later warn of any fork while there are threads.
            [
                sys.executable,
                "-W",
                "ignore:This process",
                "-m",
                "tests.programs.etcd_records_forking",
                shared_server.endpoint,
            ],
            cwd=ROOT,
            env=environment,
            stdout=stdout,
            stderr=stderr,
            timeout=100,
        )
    assert (code, err.read_text()) == (0, "")
    assert json.loads(out.read_text()) == {"children": [0] * 10, "errors": [], "sum": True}


def test_a_role_for_the_room_is_enough(tmp_path: Path) -> None:
    server = Server("users", tmp_path / "users")
    root = ("--user", "root:pw")
    with server.running():
        for command in (
            ("user", "add", "root:pw"),
            ("user", "grant-role", "root", "root"),
            ("role", "add", "records"),
            ("role", "grant-permission", "records", "--prefix=true", "readwrite", "shop/records/"),
            ("user", "add", "web:pw"),
            ("user", "grant-role", "web", "records"),
            ("auth", "enable"),
        ):
            server.etcdctl(*command)
        address = parse(f"etcd://web:pw@{server.endpoint}", plane=Plane.RECORDS)
        items = {b"%03d" % number: b"v" for number in range(100)}
        store = open_store_at(address.of_alias("shop"), timeout=10)
        store.put_many(items, ttl=3600)
        assert store.touch_many(dict.fromkeys(items), 60) == set(items)
        assert set(store.get_many(items)) == set(store.exists_many(items)) == {key for key, _ in store.scan()}
        assert store.delete_many(items) == 100
        store.put(b"n", 1, ttl=60)
        assert store.increment(b"n", 1) == 2
        store.truncate()
        store.close()
        stranger = open_store_at(address.of_alias("other"), timeout=10)
        for call in (
            lambda: stranger.get(b"k"),
            lambda: stranger.put_many({b"k": b"v"}),
            lambda: list(stranger.scan()),
        ):
            with pytest.raises(PermissionDenied, match="user 'web'"):
                call()
        stranger.close()
        server.etcdctl(*root, "auth", "disable")
