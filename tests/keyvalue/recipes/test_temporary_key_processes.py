"""Temporary keys of processes that are killed, end well, or fork."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from django_etcdaero.exceptions import KeyExists
from django_etcdaero.keyvalue import KV, Engine
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.recipes.predecessor import second_key
from tests.keyvalue.conftest import ETCD
from tests.keyvalue.recipes.looking import value
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(params=["sqlite", ETCD])
def shared_store(request: pytest.FixtureRequest, path: Path) -> Iterator[tuple[Engine, str]]:
    """A store that processes share, and its location for :mod:`tests.programs.temporary_key_holding`."""
    if request.param == "etcd":
        place = request.getfixturevalue("shared_server").endpoint
        engine: Engine = EtcdEngine([place])
    else:
        place, engine = str(path), EmbeddedEngine.file(path)
    yield engine, f"{request.param}:{place}"
    engine.close()


@pytest.fixture
def hold(shared_store: tuple[Engine, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start processes that hold a key, with a time to live of 2 seconds unless it is given."""
    started: list[subprocess.Popen[str]] = []

    def start(key: str, ttl: int = 2) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.programs.temporary_key_holding", shared_store[1], key, str(ttl)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_key_of_a_killed_process_is_gone_after_its_ttl(
    shared_store: tuple[Engine, str], hold: Callable[[str], subprocess.Popen[str]], at: Callable[[str], bytes]
) -> None:
    key = at("T").decode()
    with closing(KV(shared_store[0])) as kv:
        process = hold(key)
        assert value(kv, key) == b"theirs"
        with pytest.raises(KeyExists):
            kv.temporary_key(key)
        process.kill()
        process.wait(10)
        wait_until(lambda: kv.get(key) is None, 5, what="the end of the key")
        with kv.temporary_key(key, "mine"):
            assert value(kv, key) == b"mine"


def test_a_process_that_is_started_again_takes_over_the_key_of_its_dead_predecessor(
    shared_store: tuple[Engine, str], hold: Callable[..., subprocess.Popen[str]], at: Callable[[str], bytes]
) -> None:
    key = at("T").decode()
    with closing(KV(shared_store[0])) as kv:
        process = hold(key, ttl=600)
        process.kill()
        process.wait(10)
        before = kv.range(key).kvs[0]
        hold(key, ttl=600)  # which fails if it does not get it
        after = kv.range(key).kvs[0]
        assert (after.value, after.create_revision) == (b"theirs", before.create_revision)
        assert after.lease != before.lease
        with pytest.raises(KeyExists):  # the successor lives
            kv.temporary_key(key)


def test_the_key_of_a_process_that_is_not_known_to_be_dead_is_left_alone(
    shared_store: tuple[Engine, str], hold: Callable[..., subprocess.Popen[str]], at: Callable[[str], bytes]
) -> None:
    key = at("T").decode()
    with closing(KV(shared_store[0])) as kv:
        process = hold(key, ttl=600)
        process.send_signal(signal.SIGSTOP)  # it lives
        with pytest.raises(KeyExists):
            kv.temporary_key(key)
        process.kill()
        process.wait(10)
        told = kv.range(second_key(key.encode())).kvs[0]
        elsewhere = {**json.loads(told.value), "boot": "another host"}
        kv.put(told.key, json.dumps(elsewhere), lease=told.lease)
        with pytest.raises(KeyExists):
            kv.temporary_key(key)
        for rubbish in ("", "no JSON", "[" * 100_000, "NaN", '{"pid": true}'):
            kv.put(told.key, rubbish, lease=told.lease)
            with pytest.raises(KeyExists):
                kv.temporary_key(key)
        kv.put(told.key, told.value, lease=told.lease)
        kv.put(key, "somebody else's by now")
        with pytest.raises(KeyExists):
            kv.temporary_key(key)
        kv.delete(key)
        kv.revoke_lease(told.lease)


def test_the_key_of_a_process_that_ends_well_is_gone_at_once(
    shared_store: tuple[Engine, str], hold: Callable[[str], subprocess.Popen[str]], at: Callable[[str], bytes]
) -> None:
    key = at("T").decode()
    with closing(KV(shared_store[0])) as kv:
        process = hold(key)
        output, _ = process.communicate(timeout=30)
        assert output == "closed\n"
        assert kv.get(key) is None


def test_a_process_puts_its_key_back(
    shared_store: tuple[Engine, str], hold: Callable[[str], subprocess.Popen[str]], at: Callable[[str], bytes]
) -> None:
    key = at("T").decode()
    with closing(KV(shared_store[0])) as kv:
        hold(key)
        created = kv.range(key).kvs[0].create_revision
        kv.delete(key)
        wait_until(lambda: kv.get(key), what="the return of the key")
        found = kv.range(key).kvs[0]
        assert found.value == b"theirs"
        assert found.create_revision > created


def test_the_child_of_a_fork_has_no_part_in_the_key(
    shared_store: tuple[Engine, str], hold: Callable[[str], subprocess.Popen[str]], at: Callable[[str], bytes]
) -> None:
    key = at("T").decode()
    with closing(KV(shared_store[0])) as kv:
        process = hold(key)
        before = kv.get(key)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "alive: False, update: Cancelled, parent alive: True\n"
        assert kv.get(key) == before
