"""Two aliases, services, readers and an operator, and everything that can happen to them, at random.

The order of the faults follows from ``ETCDAERO_TEST_CHAOS_SEED``, of which a failure tells (what the machine makes of
it does not); each kind happens once at least, ``ETCDAERO_TEST_CHAOS_FAULTS`` of them in all, for
``ETCDAERO_TEST_CHAOS_SECONDS`` at least.

What is to happen has a bound of minutes (``BOUND``), and takes two or three seconds on an idle machine: what bounds are
for is that nothing is lost for good, whatever else the machine has to do. How long it took is told.
"""

from __future__ import annotations

import json
import os
import random
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_etcdaero.datasets.state.presence import processes
from tests.processes.chaos import checking
from tests.processes.chaos.clocks import FAKETIME, WrongClock
from tests.processes.chaos.observing import BOUND, Observer
from tests.processes.chaos.published import Published
from tests.processes.chaos.schedule import Chaos
from tests.processes.chaos.site import ALL, ASKED, DISK, FAULTS, NAMES, READERS, ChaosSite, alias_of
from tests.processes.chaos.stores import Stores, running_stores
from tests.waiting import wait_until

SECONDS = float(os.environ.get("ETCDAERO_TEST_CHAOS_SECONDS", "0"))
SKEWS = {"second": (37, (-45, 90)), "plain": (3, (-5, 5))}
"""Of which processes the clock is wrong: by how many seconds at first, and between which limits it jumps."""
ABSENT = pytest.mark.skip(reason="no clock is wrong: there is no program faketime (Debian: apt-get install faketime)")


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[tuple[ChaosSite, Stores]]:
    with running_stores(tmp_path, DISK) as (stores, files):
        for_processes, direct = stores.record_urls
        site = ChaosSite(
            tmp_path / "site",
            kv=stores.etcd.url,
            records=for_processes,
            files=files,
            direct={"KV": stores.etcd.direct_url, "RECORDS": direct},
        )
        try:
            yield site, stores
        finally:
            site.close()


@pytest.mark.servers
@pytest.mark.timeout(1500 + 4 * SECONDS + 10 * FAULTS)
@pytest.mark.parametrize("skewed", [True] if FAKETIME else [pytest.param(True, marks=ABSENT), False])
def test_readers_see_whole_versions_in_order_and_end_up_on_the_newest(
    deployed: tuple[ChaosSite, Stores], skewed: bool
) -> None:
    site, stores = deployed
    seed = int(os.environ.get("ETCDAERO_TEST_CHAOS_SEED", random.randrange(10**6)))
    published = Published(site)
    observer = Observer(site, published)
    skews = SKEWS.items() if skewed else ()
    clocks = {name: WrongClock(site.directory / f"clock-{name}", *skew) for name, skew in skews}
    chaos = Chaos(site, stores, observer, random.Random(seed), clocks)
    try:
        chaos.start()
        chaos.run(FAULTS, SECONDS)
        chaos.settle()
        check_status(site, published)
        chaos.end()
        check_what_is_left(site)
        check_histories(site, published, chaos)
        print(report(published, chaos, observer))
    except BaseException:
        print(f"the members of etcd have the same data: {stores.etcd.agrees()}")  # else no read can be believed
        raise
    finally:
        print(f"ETCDAERO_TEST_CHAOS_SEED={seed}, {chaos.count} faults; {observer.story()}")  # shown if it has failed
        published.close()


def report(published: Published, chaos: Chaos, observer: Observer) -> str:
    """Say what happened, and how long it took until all was as it should be."""
    versions = sum(len({each.identity for each in all_}) for all_ in published.history.values())
    took = sorted(chaos.recoveries)
    return "\n".join(
        [
            f"{chaos.count} faults in {observer.age():.0f} s, {chaos.site.eras} new eras of etcd",
            f"{versions} versions announced, {chaos.rows_read} rows read",
            f"seconds from the end of faults until the newest was read everywhere (bound: {BOUND:.0f}):",
            f"median {statistics.median(took):.1f}, 90 % {took[len(took) * 9 // 10]:.1f}, most {took[-1]:.1f}",
            f"load of the machine: {os.getloadavg()}",
            *(f"{count:5} {name}" for name, count in sorted(chaos.happened.items())),
        ]
    )


def check_histories(site: ChaosSite, published: Published, chaos: Chaos) -> None:
    """All that was loaded, announced, pinned and seen fits together; and there was something of each."""
    assert not published.gaps
    seen, refreshes = site.seen(), site.refreshes()
    assert any(each["changes"] and each["outcome"] == "refreshed" for each in refreshes)
    assert any(each["drift"] is not None for each in refreshes)
    assert {line["name"] for line in seen} == {*ALL, *ASKED}
    wrong = [
        *checking.followed(seen, published.history, chaos.operators.rolled_back),
        *checking.as_loaded(seen, site.loads()),
        *checking.published_once(published.history),
        *checking.pins_respected(published.history, published.pins),
        *checking.nothing_missed(refreshes),
        *checking.answered(chaos.operators.asked, seen),
        *checking.recovered(chaos.recoveries, BOUND),
    ]
    assert not wrong, "\n".join([f"{len(wrong)} faults:", *wrong[:20]])


def check_status(site: ChaosSite, published: Published) -> None:
    """The command knows what is announced and who reads; there is no failure, but for what is late."""

    def right() -> bool:
        ended = site.run("etcdaero_status", "--json", SHOP_CALL_TIMEOUT="30")
        assert "Traceback" not in ended.errors, ended
        document = json.loads(ended.output)
        told = {each["name"]: (each["version"], each["pin"], each["failure"]) for each in document["datasets"]}
        wanted = {name: (published.history[name][-1].version, None, None) for name in ALL + ASKED}
        pids = {each["pid"] for each in document["processes"]}
        return ended.code == 0 and told == wanted and len(pids) >= len(READERS)

    wait_until(right, 120, "a status without a fault")


def check_what_is_left(site: ChaosSite) -> None:
    """No lock is held, nobody is registered, and no process has left one behind."""
    assert site.groups_left() == []
    for name in ALL + ASKED:
        lock = site.client(alias_of(name)).lock(site.layout_of(name).lock)
        wait_until(lambda lock=lock: lock.holder() is None, 60, f"a free lock of {name}")  # type: ignore[misc]
    for alias in NAMES:
        kv = site.client(alias)
        wait_until(lambda kv=kv: not processes(kv), 60, f"no reader in {alias}")  # type: ignore[misc]
        wait_until(lambda kv=kv: not kv.range("taken/", prefix=True).kvs, 60, f"no lock of readers in {alias}")  # type: ignore[misc]
