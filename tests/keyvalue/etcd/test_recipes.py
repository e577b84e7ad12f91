"""What only a server can do to recipes: come back, empty or not, and lose its leader."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing

import pytest

from django_etcdaero.exceptions import ClusterError, EtcdAeroError
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.recipes.stm import Transaction
from tests.keyvalue.etcd.servers import Cluster, Server
from tests.keyvalue.interposed import InterposedEngine
from tests.waiting import wait_until


def present(kv: KV, key: str) -> bytes | None:
    """Return the value of a key, also ``None`` while the store does not answer."""
    try:
        found = kv.get(key, timeout=1)
    except EtcdAeroError:
        return None
    return None if found is None else found.value


@pytest.mark.parametrize(("wiped", "watching"), [(False, True), (True, True), (True, False)])
def test_a_server_that_comes_back_gets_its_temporary_keys_again(
    server: Server,
    connect: Callable[..., EtcdEngine],
    wiped: bool,
    watching: bool,
) -> None:
    store = InterposedEngine(connect([server.endpoint]))
    with closing(KV(store)) as kv, closing(KV(connect([server.endpoint]))) as others:
        for number in range(20):
            others.put("x", str(number))
        if not watching:
            store.break_("watch", ClusterError("away"))
        with kv.temporary_key("T", "v", ttl=2) as held:
            wait_until(lambda: len(store.running) == watching and store.calls["watch"], what="the watch")
            server.kill()
            wait_until(lambda: not held.alive, what="the loss")
            if wiped:
                server.wipe()
            server.start()
            wait_until(lambda: present(others, "T") == b"v", 30, what="the return of the key")
            store.mend()
            wait_until(lambda: held.alive, 30, what="the return")
            others.delete("T")
            wait_until(lambda: present(others, "T") == b"v", 30, what="the return of a key that was deleted")
        assert others.get("T") is None


def test_transfers_keep_their_sum_while_the_leader_dies(cluster: Cluster, connect: Callable[..., EtcdEngine]) -> None:
    accounts = ["account/0", "account/1", "account/2"]
    with closing(KV(connect(cluster.endpoints), prefix="transfers/")) as kv:
        kv.delete_range("", prefix=True, everything=True)
        for account in accounts:
            kv.put(account, "100")
        done = threading.Event()
        moved: list[int] = []
        unexpected: list[BaseException] = []

        def transfer(tx: Transaction, source: str, target: str) -> None:
            amount = min(7, int(tx.get(source) or 0))
            tx.put(source, str(int(tx.get(source) or 0) - amount))
            tx.put(target, str(int(tx.get(target) or 0) + amount))

        def work(first: int) -> None:
            turn = first
            while not done.is_set():
                source, target = accounts[turn % 3], accounts[(turn + 1) % 3]
                turn += 1
                try:
                    kv.stm(lambda tx: transfer(tx, source, target), timeout=5)  # noqa: B023
                    moved.append(turn)
                except EtcdAeroError:  # no answer, or an unknown outcome: either way all or nothing was done
                    continue
                except BaseException as error:
                    unexpected.append(error)
                    return

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(moved) > 30, what="some transfers")
        cluster.leader().kill()
        before = len(moved)
        wait_until(lambda: len(moved) > before + 30, 60, what="transfers under a new leader")
        done.set()
        for thread in threads:
            thread.join(30)
        assert unexpected == []
        balances = [int(found.value) for found in kv.iterate("account/", prefix=True)]
        assert (len(balances), sum(balances)) == (3, 300)
