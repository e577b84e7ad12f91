"""What can happen to the stores of the chaos."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.processes.chaos.site import ALL, NAMES
from tests.processes.chaos.stores import Stores

if TYPE_CHECKING:
    from tests.processes.chaos.faults import Chaos

Fault = Callable[[], None]


class StoreFaults:
    """The faults of stores; ``great`` ones keep everybody waiting."""

    def __init__(self, chaos: Chaos, stores: Stores) -> None:
        self._chaos = chaos
        self._observer = chaos.observer
        self._chance = chaos.chance
        self._etcd = stores.etcd
        self._cluster = stores.etcd.cluster
        self._records = stores.records
        self._disk = stores.disk
        self.server_away = False
        """Whether the coordination store of the alias on servers answers nobody."""
        self.great: list[Fault] = [self.freeze_etcd, self.restart_etcd]
        self.small: list[Fault] = [self.drop_connections, self.refuse_records, self.slow_records, self.empty_records]
        if self._disk is not None:
            self.small.append(self.fill_disk)
        if self._cluster is not None:
            self.small += [self.kill_leader, self.freeze_member]

    # etcd -------------------------------------------------------------------------------------------------------------

    def freeze_etcd(self) -> None:
        """While one alias answers nobody, the other one goes on; nobody reads what is too old."""
        self._observer.say("freeze the server")
        self._etcd.freeze()
        self.server_away = True
        for _ in range(2):
            self._chaos.small_fault()
        self._observer.wait_for_arrival([name for name in NAMES["files"] if name not in self._chaos.pinned])
        for reader in self._observer.readers.values():
            self._observer.until(
                lambda reader=reader: reader.dataset("servers-strict").get("refused") in ("stale", "not ready"),  # type: ignore[misc]
                f"what is too old to be refused in {reader.name}",
            )
        self._etcd.go_on()
        self.server_away = False
        self._observer.say("the server goes on")
        self._observer.wait_for_arrival([name for name in ALL if name not in self._chaos.pinned])

    def restart_etcd(self) -> None:
        self._observer.say("kill the server")
        self._etcd.kill()
        self.server_away = True
        self._chaos.small_fault()
        self._observer.wait_for_arrival([name for name in NAMES["files"] if name not in self._chaos.pinned])
        self._etcd.start()
        self._observer.until(self._etcd.healthy, "the start of the server")
        self.server_away = False
        self._observer.say("the server was started again")
        self._observer.wait_for_arrival([name for name in ALL if name not in self._chaos.pinned])

    def kill_leader(self) -> None:
        """One member of several is gone: the others go on."""
        if self.server_away or self._cluster is None:
            return
        leader = self._cluster.leader()
        self._observer.say(f"kill the leader {leader.name}")
        leader.kill()
        self._observer.wait_for_arrival([name for name in ALL if name not in self._chaos.pinned])
        leader.start()
        self._observer.until(self._etcd.healthy, "the start of the member")

    def freeze_member(self) -> None:
        """One member of several, maybe the leader, takes requests and answers none: the others go on."""
        if self.server_away or self._cluster is None:
            return
        member = self._chance.choice(self._cluster.members)
        self._observer.say(f"freeze the member {member.name}")
        member.signal(signal.SIGSTOP)
        self._observer.wait_for_arrival([name for name in ALL if name not in self._chaos.pinned])
        member.signal(signal.SIGCONT)
        self._observer.until(self._etcd.healthy, "all members to answer")

    # records ----------------------------------------------------------------------------------------------------------

    def drop_connections(self) -> None:
        """All connections to the record store end, whatever is on its way through them."""
        for _ in range(3):
            self._observer.say(f"drop {self._records.connections} connections to the record store")
            self._records.cut()
            self._observer.pause(self._chance.uniform(0, 0.3))

    def refuse_records(self) -> None:
        """The record store is away."""
        self._observer.say("the record store is away")
        self._records.refuse()
        self._observer.pause(self._chance.uniform(0.5, 4))
        self._records.restore()
        self._observer.say("the record store is back")

    def slow_records(self) -> None:
        seconds = self._chance.choice([0.02, 0.1, 0.5])
        self._observer.say(f"each answer of the record store takes {seconds} s more")
        self._records.slow(seconds)
        self._observer.pause(self._chance.uniform(1, 3))
        self._records.slow(0)

    def empty_records(self) -> None:
        """All records of an alias are lost at once: what was current is published anew."""
        alias = self._chance.choice(sorted(NAMES))
        self._observer.say(f"all {self._chaos.site.empty_records(alias)} records of {alias} are lost")
        self._chaos.lost.add(alias)

    def fill_disk(self) -> None:
        """There is no room for the files; what is there is read."""
        assert self._disk is not None
        self._observer.say("fill the disk")
        self._disk.fill()
        self._observer.pause(self._chance.uniform(0.5, 4))
        self._disk.make_room()
        self._observer.say("there is room again")
