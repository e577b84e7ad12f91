"""What a shell shows of clients, locks and answers: short, telling, and without asking the store."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from django_etcdaero.keyvalue import KV, KeyValue, Leadership, ops
from django_etcdaero.keyvalue.values import RangeResult
from tests.keyvalue.interposed import InterposedEngine
from tests.waiting import wait_until


@dataclass(frozen=True)
class Limits:
    rows: int = 100


NUMBER = re.compile(r"(?<=token=)\d+|\b[0-9a-f]{12,}\b")


@pytest.mark.parametrize("engine", ["mem"], indirect=True)
def test_what_is_held_and_what_runs(kv: KV, store: InterposedEngine, at: Callable[[str], bytes]) -> None:
    def shown(what: object) -> str:
        store.calls.clear()
        text = NUMBER.sub("N", repr(what))
        assert not store.calls
        return text

    prefix = at("app/")
    lock, election = kv.lock("L"), kv.election("E", value="me")
    assert shown(lock) == "<Lock 'L' not held>"
    lock.acquire()
    election.campaign()
    leadership = Leadership(election, threading.Event())
    assert shown(kv.namespace("n/")) == f"<KV {store.info.location} prefix={prefix + b'n/'!r}>"
    assert shown(lock) == "<Lock 'L' held token=N>"
    assert shown(election) == "<Election 'E' held token=N>"
    assert shown(leadership) == "<Leadership of 'E' token=N leading>"
    assert shown(kv.session(10)) == "<Session N ttl=10 alive>"
    assert shown(kv.session(10).lease) == "<Lease N ttl=10 alive>"
    observation = election.observe()
    assert shown(observation) == "<Observation of 'E'>"
    observation.cancel()
    assert shown(observation) == "<Observation of 'E' ended>"
    kv.lock("L").force_release()
    kv.election("E").force_release()
    wait_until(lambda: lock.lost and leadership.lost, what="the losses")
    assert shown(lock) == "<Lock 'L' lost (removed)>"
    assert shown(leadership) == "<Leadership of 'E' token=N lost (removed)>"
    kv.close()
    assert shown(kv) == f"<KV {store.info.location} prefix={prefix!r} closed>"


@pytest.mark.parametrize("engine", ["mem"], indirect=True)
def test_watches_tell_what_they_follow(kv: KV) -> None:
    watch = kv.watch("stock/", prefix=True)
    assert repr(watch) == "<Watch of the prefix b'stock/'>"
    watch.cancel()
    assert repr(watch) == "<Watch of the prefix b'stock/' ended>"
    ranges: dict[str, dict[str, Any]] = {
        "b'a'": {},
        "b'a' to b'c'": {"range_end": "c"},
        "b'a' and all after it": {"range_end": b"\0"},
    }
    for of, options in ranges.items():
        with kv.watch("a", **options) as other:
            assert repr(other) == f"<Watch of {of}>"

    async def made() -> tuple[str, str]:
        return repr(kv.watch("a")), repr(kv.objects(Limits, "limits/").watch())

    assert asyncio.run(made()) == ("<Watch of b'a' not begun>", "<ObjectWatch of the prefix b'limits/' not begun>")
    with kv.objects(Limits, "limits/").watch("uploads") as objects:
        assert repr(objects) == "<ObjectWatch of b'limits/uploads'>"
    assert repr(objects) == "<ObjectWatch of b'limits/uploads' ended>"


@pytest.mark.parametrize("engine", ["mem"], indirect=True)
def test_transactions_in_the_making(kv: KV) -> None:
    txn = kv.txn().when(ops.version("a") == 0).then(ops.put("a", "1"))
    assert "PutRequest(key=b'a', value=b'1'" in repr(txn)
    assert "otherwise=[]" in repr(txn)
    assert repr(ops.mod_revision("a")) == "<the mod of b'a', to be compared>"


def test_a_long_value_is_shown_by_its_beginning() -> None:
    short = KeyValue(b"a", b"x" * 200, 1, 2, 3, 4)
    assert (
        repr(short)
        == f"KeyValue(key=b'a', value={b'x' * 200!r}, create_revision=1, mod_revision=2, version=3, lease=4)"
    )
    assert eval(repr(short)) == short
    long = KeyValue(b"a", b"x" * 1_500_000, 1, 2, 3, 4)
    assert len(repr(long)) < 350
    assert "… (1500000 bytes), create_revision=1" in repr(long)


def test_of_a_long_range_the_first_keys_are_shown() -> None:
    kvs = tuple(KeyValue(b"%d" % number, b"", 1, 1, 1, 0) for number in range(1000))
    few = RangeResult(kvs[:10], False, 10, 5)
    assert "…" not in repr(few)
    assert repr(few).endswith("lease=0)), more=False, count=10, revision=5)")
    many = repr(RangeResult(kvs, True, 2000, 5))
    assert "key=b'9'" in many
    assert "key=b'10'" not in many
    assert many.endswith(", … (1000 keys)), more=True, count=2000, revision=5)")
