"""Processes register what they hold, under a lease."""

from __future__ import annotations

import os
import socket
from typing import Any

from django_etcdaero.datasets.layout import PROCESSES
from django_etcdaero.datasets.state.overview import versions_held
from django_etcdaero.datasets.state.presence import Presence, Process, merged, processes
from tests.datasets.hosting import FakeHost


def test_a_registration_is_read_back(host: FakeHost) -> None:
    presence = Presence(host.kv, ttl=30, started=1.0)
    assert processes(host.kv) == []
    presence.publish(
        {"prices": 3, "stock": None}, {"prices": "VALID", "stock": "INITIALIZING"}, {"prices": 1, "stock": 2}
    )
    (found,) = processes(host.kv)
    assert (found.host, found.pid) == (socket.gethostname(), os.getpid())
    assert found.started == 1.0
    assert found.versions == {"prices": 3, "stock": None}
    assert found.states == {"prices": "VALID", "stock": "INITIALIZING"}
    assert found.schemas == {"prices": 1, "stock": 2}
    presence.withdraw()
    assert processes(host.kv) == []
    presence.withdraw()


def test_it_is_written_only_when_it_changes(host: FakeHost) -> None:
    presence = Presence(host.kv, ttl=30, started=1.0)
    for version, writes in ((1, 1), (1, 1), (2, 2), (2, 2)):
        presence.publish({"prices": version}, {}, {})
        (item,) = host.kv.range(PROCESSES, prefix=True).kvs
        assert item.version == writes


def test_it_goes_with_its_lease_and_comes_back_with_the_next(host: FakeHost) -> None:
    presence = Presence(host.kv, ttl=30, started=1.0)
    presence.publish({"prices": 1}, {}, {})
    host.kv.session(30).lease.revoke()
    assert processes(host.kv) == []
    presence.publish({"prices": 1}, {}, {})
    assert len(processes(host.kv)) == 1


def test_processes_of_one_host_do_not_get_into_each_others_way(host: FakeHost) -> None:
    one, other = Presence(host.kv, ttl=30, started=1.0), Presence(host.other().kv, ttl=30, started=2.0)
    one.publish({"prices": 1}, {}, {})
    other.publish({"prices": 2}, {}, {})
    assert sorted(process.versions["prices"] or 0 for process in processes(host.kv)) == [1, 2]
    one.withdraw()
    assert [process.versions["prices"] for process in processes(host.kv)] == [2]


def test_entries_that_make_no_sense_are_left_out(host: FakeHost) -> None:
    good = '{"host": "b", "pid": 1, "started": 1, "versions": {}, "states": {}, "schemas": {}'
    for number, value in enumerate(
        ("", "[]", "{}", good, good.replace('"b"', "5") + "}", good.replace("{}", "[]") + "}", "\xff")
    ):
        host.kv.put(f"{PROCESSES}x{number}", value)
    assert processes(host.kv) == []
    host.kv.put(f"{PROCESSES}y", good + ', "of": "a newer version"}')
    assert [process.host for process in processes(host.kv)] == ["b"]


def process(host_name: str, pid: int, *, schema: int = 1, started: float = 1.0, **versions: int | None) -> Process:
    schemas = dict.fromkeys(versions, schema)
    return Process(host=host_name, pid=pid, started=started, versions=versions, states={}, schemas=schemas)


def test_processes_are_ordered_and_counted_by_version(host: FakeHost, declare: Any) -> None:
    listed = [process("a", 1, prices=3), process("a", 2, prices=3), process("b", 1, prices=None), process("c", 1, x=1)]
    assert versions_held(declare(), listed) == {3: 2, None: 1}


def test_versions_of_another_schema_do_not_count(host: FakeHost, declare: Any) -> None:
    listed = [process("a", 1, prices=3), process("a", 2, schema=2, prices=3), process("a", 3, schema=2, prices=1)]
    assert versions_held(declare(schema=2), listed) == {3: 1, 1: 1}


def test_registrations_under_several_aliases_are_one_process() -> None:
    one, other = process("b", 1, prices=3), process("b", 1, schema=2, stock=1)
    later, first = process("b", 1, started=2.0, stock=4), process("a", 9, prices=1)
    found = merged([later, one, first, other])
    assert [(each.host, each.pid, each.started, each.versions, each.schemas) for each in found] == [
        ("a", 9, 1.0, {"prices": 1}, {"prices": 1}),
        ("b", 1, 1.0, {"prices": 3, "stock": 1}, {"prices": 1, "stock": 2}),
        ("b", 1, 2.0, {"stock": 4}, {"stock": 1}),
    ]
