"""The watches of a process stand where it registers, and cost little."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest

from django_etcdaero.datasets.layout import PROCESSES
from django_etcdaero.datasets.state import watching
from django_etcdaero.datasets.state.presence import Presence, merged, processes
from tests.datasets.hosting import FakeHost
from tests.waiting import wait_until


def told(host: FakeHost) -> list[str]:
    (process,) = processes(host.kv)
    return [each.keys for each in process.watches]


def publish(presence: Presence, revision: int = 0) -> bool:
    return presence.publish({"prices": 1}, revision=revision, otherwise={})


def test_watches_are_told_with_what_they_are_on(host: FakeHost) -> None:
    presence = Presence(host.kv, ttl=30, started=1.0)
    watches = [
        host.kv.watch("config/", prefix=True),
        host.kv.watch("flags/beta"),
        host.kv.watch("a", "c"),
        host.kv.watch("a", b"\0"),
        host.kv.watch("", prefix=True),
        host.kv.namespace("inner/").watch("x", prefix=True),
        host.kv.watch("announcements/", prefix=True),
    ]
    host.kv.put("flags/beta", "1")
    publish(presence)
    assert told(host) == ["config/*", "flags/beta", "[a, c)", "[a, )", "*", "inner/x*"]
    assert all(each.since > 0 and each.events >= 0 for each in processes(host.kv)[0].watches)
    for each in watches:
        each.cancel()
    presence.withdraw()
    assert host.kv.range(PROCESSES, prefix=True).count == 0


def test_they_are_told_again_only_when_others_are_open_and_not_too_often(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(watching, "monotonic", lambda: now)
    presence = Presence(host.kv, ttl=30, started=1.0)
    assert publish(presence)
    assert host.kv.range(PROCESSES, prefix=True).count == 2  # nothing is written for none
    with host.kv.watch("one"):
        assert publish(presence)
        host.kv.put("one", "changed")
        now += 100
        assert not publish(presence)
        with host.kv.watch("two"):
            assert publish(presence)
            assert told(host) == ["one", "two"]
        now += watching.TELL_EVERY - 1
        assert not publish(presence)
        now += 1
        assert publish(presence)
        assert told(host) == ["one"]
    now += watching.TELL_EVERY
    publish(presence)
    assert told(host) == []


def test_they_are_told_anew_with_another_lease(host: FakeHost) -> None:
    presence = Presence(host.kv, ttl=30, started=1.0)
    with host.kv.watch("one"):
        publish(presence)
        host.kv.session(30).lease.revoke()
        publish(presence)
        assert told(host) == ["one"]


def test_an_announcement_costs_no_more_with_many_watches(host: FakeHost) -> None:
    presence = Presence(host.kv, ttl=30, started=1.0)
    watches = [host.kv.watch(f"{number:03}/{'x' * 500}") for number in range(60)]
    publish(presence, 1)
    publish(presence, 2)
    items = {item.key.decode().rpartition("/")[2]: item for item in host.kv.range(PROCESSES, prefix=True).kvs}
    assert [items[name].version for name in ("held", "watches")] == [2, 1]
    assert len(items["held"].value) < 200
    assert len(items["watches"].value) < 20_000
    assert json.loads(items["watches"].value)["more"] == 10
    assert len(told(host)) == watching.MOST_WATCHES
    for each in watches:
        each.cancel()


@pytest.mark.parametrize("odd", ["", "[]", '{"at": 1}', '{"at": 1, "watches": [7, ["x"], [1, 2, 3, 4]]}'])
def test_what_makes_no_sense_is_left_out(host: FakeHost, odd: str) -> None:
    host.kv.put(f"{PROCESSES}y", '{"host": "b", "pid": 1, "started": 1, "schemas": {"prices": 1}}')
    host.kv.put(f"{PROCESSES}y/watches", odd)
    assert told(host) == []


def test_the_packages_own_are_told_once_they_are_old(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    now, ahead = 1000.0, 0.0
    real = watching.time.time
    monkeypatch.setattr(watching, "monotonic", lambda: now + ahead)
    monkeypatch.setattr(watching.time, "time", lambda: real() + ahead)
    presence = Presence(host.kv, ttl=30, started=1.0)
    with host.kv.watch("announcements/", prefix=True), host.kv.watch("datasets/prices/x"):
        publish(presence)
        assert told(host) == []
        for _ in range(5):
            with host.kv.watch("loads/prices/s1"):  # a wait that comes and goes
                assert not publish(presence)
        ahead = watching.TELL_EVERY + 1
        assert publish(presence)
        for _ in range(5):
            assert not publish(presence), "a process at rest writes nothing"
            ahead += watching.TELL_EVERY
        with host.kv.watch("config/", prefix=True):
            publish(presence)
            assert told(host) == ["config/*", "announcements/*", "datasets/prices/x"]
            assert [each.own for each in processes(host.kv)[0].watches] == [False, True, True]


def test_waits_are_told_when_they_have_lasted(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "TELL_EVERY", 0.0)
    presence = Presence(host.kv, ttl=30, started=1.0)
    with host.kv.lock("orders/7"), host.kv.mirror("config/"):
        waits = host.kv.lock("orders/7")
        thread = threading.Thread(target=waits.acquire)
        thread.start()
        wait_until(lambda: len(host.kv.open_watches()) == 4, what="a mirror, two places and the wait")
        publish(presence)
        assert told(host) == ["config/*"]
        monkeypatch.setattr(watching, "LASTING", 0.0)
        publish(presence)
        (process,) = processes(host.kv)
        assert sorted((each.use, each.name) for each in process.watches) == [
            ("lock", "orders/7"),
            ("mirror", ""),
            ("place", ""),
            ("place", ""),
        ]
        assert process.watches[0].use == "mirror"
    thread.join(10)
    waits.release()


@pytest.mark.parametrize("rest", [[], ["lock"], [1, 2]])
def test_what_is_told_in_another_way_is_a_watch(host: FakeHost, rest: list[object]) -> None:
    host.kv.put(f"{PROCESSES}y", '{"host": "b", "pid": 1, "started": 1, "schemas": {"prices": 1}}')
    host.kv.put(
        f"{PROCESSES}y/watches", json.dumps({"host": "b", "pid": 1, "at": 1, "watches": [["k", 1, 2, 3, *rest]]})
    )
    (process,) = processes(host.kv)
    assert [(each.keys, each.use, each.name) for each in process.watches] == [("k", "watch", "")]


def test_how_many_are_left_out_is_told(host: FakeHost) -> None:
    presence = Presence(host.kv, ttl=30, started=1.0)
    watches = [host.kv.watch(f"{number}") for number in range(watching.MOST_WATCHES + 3)]
    publish(presence)
    (process,) = processes(host.kv)
    assert process.more_watches == 3
    assert merged([process, replace(process, more_watches=1)])[0].more_watches == 4
    assert all(each.at >= each.since for each in process.watches)
    for each in watches:
        each.cancel()
