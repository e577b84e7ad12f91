"""What can happen to the record stores, and to the disk that the files are on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.processes.chaos.site import NAMES
from tests.processes.chaos.steps import Kind, Steps, Wait, kind, pause
from tests.processes.chaos.stores import Stores

if TYPE_CHECKING:
    from tests.processes.chaos.schedule import Chaos


class RecordFaults:
    """The faults of stores of records, one at a time, and of the disk."""

    def __init__(self, chaos: Chaos, stores: Stores) -> None:
        self._chaos = chaos
        self._observer = chaos.observer
        self._chance = chaos.chance
        self._stores = stores
        self._line = stores.records
        self.kinds: list[Kind] = [
            kind(self.drop_connections, "records"),
            kind(self.refuse_records, "records"),
            kind(self.stall_records, "records"),
            kind(self.slow_records, "records"),
            kind(self.fill_records, "records"),
            # What is rolled back to cannot be made again while its records are lost.
            kind(self.empty_records, "records", "disk", "kept"),
        ]
        if stores.server is not None:
            self.kinds.append(kind(self.kill_records, "records", "kept"))
        if stores.disk is not None:
            self.kinds.append(kind(self.fill_disk, "disk"))

    def _away(self) -> None:
        self._chaos.away.add("servers records")

    def _back(self) -> None:
        self._chaos.away.discard("servers records")

    def drop_connections(self) -> Steps:
        """All connections to the record store end, whatever is on its way through them."""
        for _ in range(3):
            self._observer.say(f"drop {self._line.connections} connections to the record store")
            self._line.cut()
            yield pause(self._chance.uniform(0, 0.3))
            self._line.swallow_answer()

    def refuse_records(self) -> Steps:
        """The record store is away."""
        self._observer.say("the record store is away")
        self._line.refuse()
        self._away()
        yield pause(self._chance.uniform(0.5, 4))
        self._line.restore()
        self._back()
        self._observer.say("the record store is back")

    def stall_records(self) -> Steps:
        """The record store takes requests and answers none; then the answers arrive late, or are lost."""
        seconds, lost = self._chance.choice([1.0, 3.0, 7.0]), self._chance.random() < 0.5
        self._observer.say(f"the record store does not answer for {seconds} s")
        self._line.freeze()
        self._away()
        yield pause(seconds)
        if lost:
            self._line.cut()
        self._line.thaw()
        self._back()

    def slow_records(self) -> Steps:
        seconds = self._chance.choice([0.02, 0.1, 0.5])
        self._observer.say(f"each answer of the record store takes {seconds} s more")
        self._line.slow(seconds)
        yield pause(self._chance.uniform(1, 3))
        self._line.slow(0)

    def fill_records(self) -> Steps:
        """It takes no new records; what is there is read."""
        self._observer.say("the record store is full")
        self._away()
        self._stores.limit_records(1)
        yield pause(self._chance.uniform(1, 5))
        self._stores.limit_records(0)
        self._back()
        self._observer.say("the record store has room again")

    def kill_records(self) -> Steps:
        """The process of the record store ends, and all that it had is lost."""
        assert self._stores.server is not None
        self._observer.say("kill the record store")
        self._chaos.lost.add("servers")
        self._stores.server.kill()
        self._away()
        yield pause(self._chance.uniform(0, 2))
        self._stores.server.start()
        yield Wait(self._stores.server.started, "the start of the record store")
        self._back()
        self._observer.say("the record store was started again")

    def empty_records(self) -> Steps:
        """All records of an alias are lost at once: what was current is published anew."""
        alias = self._chance.choice(sorted(NAMES))
        self._chaos.lost.add(alias)
        self._observer.say(f"all {self._chaos.site.empty_records(alias)} records of {alias} are lost")
        yield pause(0)

    def fill_disk(self) -> Steps:
        """There is no room for the files; what is there is read."""
        disk = self._stores.disk
        assert disk is not None
        self._observer.say("fill the disk")
        self._chaos.away.add("files")
        disk.fill()
        yield pause(self._chance.uniform(0.5, 4))
        disk.make_room()
        self._chaos.away.discard("files")
        self._observer.say("there is room again")
