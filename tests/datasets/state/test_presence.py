"""Processes register what they hold, under a lease."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from django_etcdaero.datasets.layout import PROCESSES
from django_etcdaero.datasets.state.overview import versions_held
from django_etcdaero.datasets.state.presence import Presence, Process, merged, processes
from django_etcdaero.datasets.state.reading import read_announcements
from django_etcdaero.datasets.stores import About
from tests.datasets.hosting import FakeHost, publish


def told(presence: Presence, revision: int = 0, schemas: dict[str, int] | None = None, **otherwise: Any) -> bool:
    """Register a process that reads the dataset ``prices``."""
    return presence.publish({"prices": 1} if schemas is None else schemas, revision=revision, otherwise=otherwise)


def newest(host: FakeHost) -> int:
    """Return the mod revision of the newest announcement."""
    return max(each.mod_revision for each in read_announcements(host.kv).found.values())


def test_a_registration_is_read_back(host: FakeHost) -> None:
    presence = Presence(host.kv, ttl=30, started=1.0)
    assert processes(host.kv) == []
    told(presence, schemas={"prices": 1, "stock": 2}, prices=(3, "VALID"), stock=(None, "INITIALIZING"))
    (found,) = processes(host.kv)
    assert (found.host, found.pid) == (socket.gethostname(), os.getpid())
    assert found.started == 1.0
    assert found.versions == {"prices": 3, "stock": None}
    assert found.states == {"prices": "VALID", "stock": "INITIALIZING"}
    assert found.schemas == {"prices": 1, "stock": 2}
    presence.withdraw()
    assert processes(host.kv) == []
    assert host.kv.range(PROCESSES, prefix=True).count == 0
    presence.withdraw()


def test_what_a_process_holds_is_told_by_a_revision(host: FakeHost, declare: Any) -> None:
    prices, stock = declare(), declare(name="stock")
    presence = Presence(host.kv, ttl=30, started=1.0)
    schemas = {"prices": 1, "stock": 1}

    def held() -> dict[str, int | None]:
        (process,) = processes(host.kv)
        return process.versions

    publish(prices, {"a": 1})
    publish(stock, {"a": 1})
    told(presence, newest(host), schemas)
    assert held() == {"prices": 1, "stock": 1}
    publish(prices, {"a": 2})
    assert held() == {"prices": 1, "stock": 1}  # it has not told yet that it has seen the new one
    publish(stock, {"a": 2})
    told(presence, newest(host), schemas, stock=(1, "INTERRUPTED"))
    assert held() == {"prices": 2, "stock": 1}
    (process,) = processes(host.kv)
    assert process.states == {"prices": "VALID", "stock": "INTERRUPTED"}
    prices.rollback(1)
    assert held() == {"prices": 2, "stock": 1}
    told(presence, newest(host), schemas)
    assert held() == {"prices": 1, "stock": 2}


def test_rows_and_bytes_are_those_of_what_was_announced(host: FakeHost, declare: Any) -> None:
    prices = declare()
    publish(prices, {"a": 1, "b": 2})
    before = len(host.kv.range(PROCESSES, prefix=True).kvs)
    told(Presence(host.kv, ttl=30, started=1.0), newest(host))
    (process,) = processes(host.kv)
    assert (process.rows, before) == ({"prices": 2}, 0)
    assert process.stored_bytes["prices"] > 0
    assert process.sizes_known


def test_how_much_a_process_holds_that_is_behind_is_not_known(host: FakeHost, declare: Any) -> None:
    publish(declare(), {"a": 1, "b": 2})
    presence = Presence(host.kv, ttl=30, started=1.0)
    told(presence, newest(host), prices=(7, "VALID"))
    assert not processes(host.kv)[0].sizes_known
    told(presence, newest(host), prices=(None, "INITIALIZING"))
    assert processes(host.kv)[0].sizes_known, "it holds nothing"


def test_what_a_process_runs_is_told_once(host: FakeHost) -> None:
    about = About(program="gunicorn shop", kind="server", software={"django": "5.2"}, settings={"RECORDS": "12ab"})
    presence = Presence(host.kv, ttl=30, started=1.0, about=about)
    told(presence, 1)
    told(presence, 2)
    (found,) = processes(host.kv)
    assert (found.program, found.kind, found.software, found.settings) == (
        "gunicorn shop", "server", {"django": "5.2"}, {"RECORDS": "12ab"}
    )  # fmt: skip
    who, held = host.kv.range(PROCESSES, prefix=True).kvs
    assert (who.version, held.version) == (1, 2)
    assert b"gunicorn" not in held.value


def test_what_a_process_is_busy_with_is_told_as_long_as_it_is(host: FakeHost) -> None:
    presence = Presence(host.kv, ttl=30, started=1.0)
    stuck = {"prices": ("prepare() of version 3", 5.0), **{f"x{n:02}": ("fetching", 1.0) for n in range(30)}}
    presence.publish({"prices": 1}, revision=1, otherwise={"prices": (2, "INTERRUPTED")}, stuck=stuck)
    (found,) = processes(host.kv)
    assert found.stuck["prices"] == ("prepare() of version 3", 5.0)
    assert len(found.stuck) == 10
    told(presence, 1)
    assert processes(host.kv)[0].stuck == {}


def test_registrations_of_older_code_are_read(host: FakeHost) -> None:
    host.kv.put(f"{PROCESSES}old", '{"host": "b", "pid": 1, "started": 1.0, "schemas": {"prices": 1}, "process": {}}')
    host.kv.put(f"{PROCESSES}old/held", '{"host": "b", "pid": 1, "revision": 0, "otherwise": {"prices": [3, "VALID"]}}')
    (found,) = processes(host.kv)
    assert (found.versions, found.program, found.software, found.settings) == ({"prices": 3}, "", {}, {})
    assert (found.rows, found.stuck, found.watches) == ({}, {}, ())


def test_what_was_announced_at_a_revision_that_was_compacted_is_not_known(host: FakeHost, declare: Any) -> None:
    prices = declare()
    publish(prices, {"a": 1})
    told(Presence(host.kv, ttl=30, started=1.0), newest(host))
    publish(prices, {"a": 2})
    host.kv.compact(host.kv.put("x", "").revision)
    (process,) = processes(host.kv)
    assert process.versions == {"prices": None}


def test_only_what_changes_is_written_and_the_size_does_not_depend_on_the_datasets(host: FakeHost) -> None:
    presence = Presence(host.kv, ttl=30, started=1.0)
    schemas = {f"dataset-{number}": 1 for number in range(1000)}
    seen = []
    for revision in (1, 1, 2, 2):
        written = told(presence, revision, schemas)
        seen.append((written, *(each.version for each in host.kv.range(PROCESSES, prefix=True).kvs)))
    assert seen == [(True, 1, 1), (False, 1, 1), (True, 1, 2), (False, 1, 2)]
    _, held = host.kv.range(PROCESSES, prefix=True).kvs
    assert len(held.key) + len(held.value) < 200


def test_it_goes_with_its_lease_and_comes_back_with_the_next(host: FakeHost) -> None:
    presence = Presence(host.kv, ttl=30, started=1.0)
    told(presence)
    host.kv.session(30).lease.revoke()
    assert processes(host.kv) == []
    told(presence)
    assert len(processes(host.kv)) == 1


def test_processes_of_one_host_do_not_get_into_each_others_way(host: FakeHost) -> None:
    one, other = Presence(host.kv, ttl=30, started=1.0), Presence(host.other().kv, ttl=30, started=2.0)
    told(one, prices=(1, "VALID"))
    told(other, prices=(2, "VALID"))
    assert sorted(process.versions["prices"] or 0 for process in processes(host.kv)) == [1, 2]
    one.withdraw()
    assert [process.versions["prices"] for process in processes(host.kv)] == [2]


def test_entries_that_make_no_sense_are_left_out(host: FakeHost) -> None:
    good = '{"host": "b", "pid": 1, "started": 1, "schemas": {}'
    odd = [good, good.replace('"b"', "5") + "}", good.replace("{}", "[]") + "}", good.replace("{}", '{"x": []}') + "}"]
    for number, value in enumerate(("", "[]", "{}", *odd, "\xff")):
        host.kv.put(f"{PROCESSES}x{number}", value)
    assert processes(host.kv) == []
    host.kv.put(f"{PROCESSES}y", good + ', "of": "a newer version"}')
    assert [process.host for process in processes(host.kv)] == ["b"]


@pytest.mark.parametrize("held", ["", "{}", '{"revision": 1, "otherwise": {"prices": HERE}}'])
@pytest.mark.parametrize("odd", ["7", "[]", '["1", "VALID"]', "[1]", "[1, 2]", "null", "[true, 1]"])
def test_a_process_that_holds_what_makes_no_sense_is_left_out(host: FakeHost, held: str, odd: str) -> None:
    host.kv.put(f"{PROCESSES}y", '{"host": "b", "pid": 1, "started": 1, "schemas": {"prices": 1}}')
    host.kv.put(f"{PROCESSES}y/held", held.replace("HERE", odd))
    assert processes(host.kv) == []


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
