"""The faults of the chaos: several at once, in an order that follows from the seed; and how it begins and ends."""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter
from collections.abc import Iterable, Mapping

from tests.processes.chaos.clocks import WrongClock
from tests.processes.chaos.etcd_faults import EtcdFaults
from tests.processes.chaos.observing import BOUND, Observer
from tests.processes.chaos.operators import Operators
from tests.processes.chaos.process_faults import ProcessFaults, check_end
from tests.processes.chaos.record_faults import RecordFaults
from tests.processes.chaos.site import ALL, ASKED, BUMP_EVERY, FAULTS, GUARDED, READERS, SERVICES, ChaosSite, alias_of
from tests.processes.chaos.steps import Kind, Running, Wait
from tests.processes.chaos.stores import Stores

BESIDE = (4, 8) if FAULTS else (1, 4)
"""So many faults, at least and at most, go on beside one of etcd and one of the record stores."""
WITHIN = 1.5
"""Seconds within which they begin."""


class Chaos:
    """Services, readers and an operator, and all that happens to them."""

    def __init__(
        self,
        site: ChaosSite,
        stores: Stores,
        observer: Observer,
        chance: random.Random,
        clocks: Mapping[str, WrongClock],
    ) -> None:
        self.site = site
        self.observer = observer
        self.chance = chance
        self.clocks = clocks
        """By service or reader: clocks that are wrong."""
        self.pinned: set[str] = set()
        """Datasets that may be pinned."""
        self.blocked: set[tuple[str, str]] = set()
        """Readers with the dataset that stands still in them."""
        self.away: set[str] = set()
        """Aliases one of whose stores answers nobody, or takes nothing."""
        self.lost: set[str] = set()
        """Aliases whose records were lost once."""
        self.happened: Counter[str] = Counter()
        """How many faults of each kind there were."""
        self.recoveries: list[float] = []
        """Seconds from the end of the faults that went on together until what sources said then was read everywhere."""
        self.operators = Operators(self)
        self.processes = ProcessFaults(self)
        etcd, records = EtcdFaults(self, stores.etcd), RecordFaults(self, stores)
        self._kinds = [etcd.kinds, records.kinds, [*self.processes.kinds, *self.operators.kinds]]
        self._waiting: list[list[Kind]] = [[], [], []]
        self._settled = threading.Event()
        self._sources = threading.Thread(target=self._change_sources, daemon=True)

    def _change_sources(self) -> None:
        while not self._settled.wait(BUMP_EVERY):
            for name in ALL:
                self.site.bump(name)

    def environment_of(self, name: str) -> dict[str, str]:
        return self.clocks[name].environment if name in self.clocks else {}

    @property
    def count(self) -> int:
        return self.happened.total()

    # the schedule -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        for name in SERVICES:
            self.processes.start_service(name)
        for name in READERS:
            self.processes.start_reader(name)
        self.operators.start()
        self.observer.until(*self.arrival(ALL))
        self._sources.start()

    def run(self, faults: int, seconds: float) -> None:
        """Let each kind of fault happen once at least, and so many in all, and go on for so long."""
        begun = self.observer.age()
        kinds = sum(map(len, self._kinds))
        while len(self.happened) < kinds or self.count < faults or self.observer.age() < begun + seconds:
            chosen = self._choose()
            self.observer.say(f"--- {', '.join(kind.name for kind in chosen)}")
            running = [Running(kind.name, kind.fault(), self.chance.uniform(0, WITHIN)) for kind in chosen]

            def over(running: list[Running] = running) -> bool:
                running[:] = [each for each in running if not each.ends()]
                return not running

            self.observer.until(over, "the end of these faults", len(chosen) * BOUND)
            self.happened.update(kind.name for kind in chosen)
            assert not self.away, self.away
            assert not self.blocked, self.blocked
            self.recoveries.append(self.observer.until(*self.arrival(ALL)))
            self.operators.look_after_one_shots()

    def _choose(self) -> list[Kind]:
        """Return kinds that may go on together, of each family those first that have waited for longest."""
        chosen: list[Kind] = []
        for kinds, waiting, count in zip(self._kinds, self._waiting, (1, 1, self.chance.randint(*BESIDE)), strict=True):
            if len(waiting) < len(kinds):
                waiting += self.chance.sample(kinds, len(kinds))
            before = len(chosen)
            for each in list(waiting):
                if len(chosen) < before + count and all(not each.groups & other.groups for other in chosen):
                    waiting.remove(each)
                    chosen.append(each)
        return chosen

    # what arrives -----------------------------------------------------------------------------------------------------

    def arrival(self, names: Iterable[str], readers: Iterable[str] = READERS) -> Wait:
        """Change sources; what is waited for is that readers have what they say now, where nothing is in the way."""
        wanted = {name: self.site.bump(name) for name in names}
        of = [self.observer.readers[name] for name in readers]

        def late() -> list[tuple[str, str]]:
            return [
                (reader.name, name)
                for reader in of
                for name, number in wanted.items()
                if reader.dataset(name)["number"] < number and not self._hindered(reader.name, name)
            ]

        return Wait(lambda: not late(), f"the arrival of {wanted} in {[reader.name for reader in of]}")

    def _hindered(self, reader: str, name: str) -> bool:
        alias = alias_of(name)
        return (
            any(each.partition(" ")[0] == alias for each in self.away)
            or name in self.pinned
            or name in self.site.bad
            or reader in self.observer.frozen
            or (reader, name) in self.blocked
        )

    # the end ----------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """No more faults: everybody gets the newest, and says that it is valid."""
        self._settled.set()
        self._sources.join(BOUND)
        self.operators.look_after_one_shots(wait=True)
        for name in GUARDED:
            assert self.operators.ask("unpin", name)["raised"] is None
        self.pinned.clear()
        self.observer.say("no more faults")
        begun = self.observer.age()
        self.observer.until(self._answered, "the answers to all requests")
        self.observer.until(*self.arrival(ALL))

        for name in ASKED:  # whatever was lost of it is published anew
            assert self.operators.request_asked(name)

        def settled() -> bool:
            return all(
                (told := reader.dataset(name))["state"] == "VALID"
                and told["number"] == self.site.numbers[name]
                and not told["refused"]
                and (current := self.observer.published.current(name)) is not None
                and told["version"] == current[0]
                for reader in self.observer.readers.values()
                for name in ALL + ASKED
            )

        self.observer.until(settled, "everything to be valid, on the newest version")
        self.recoveries.append(self.observer.age() - begun)
        before = {name: reader.report()["counted"] for name, reader in self.observer.readers.items()}

        def used() -> bool:
            """Tell whether each reader has counted and taken its lock once more in each store."""
            return all(
                now[0] > then[0] and now[3] > then[3]
                for name, reader in self.observer.readers.items()
                for alias, now in reader.report()["counted"].items()
                for then in [before[name][alias]]
            )

        self.observer.until(used, "all readers to use both stores")

    def _answered(self) -> bool:
        return all(
            reader.dataset(name)["number"] >= number
            for reader in self.observer.readers.values()
            for name, number in self.operators.asked
        )

    def end(self) -> None:
        """Everybody ends when told to."""
        for service in self.processes.services.values():
            service.signal(signal.SIGTERM)
        for service in self.processes.services.values():
            check_end(service)
        readers = list(self.observer.readers.values())
        self.observer.readers.clear()
        for reader in readers:
            reader.process.signal(signal.SIGTERM)
        for reader in readers:
            ended = reader.process.wait()
            assert ended.code == 0, ended
            told = reader.report()
            self.observer.say(f"{reader.name} has ended: {told}")
            assert not told["problems"], told["problems"]
        self.rows_read = sum(reader.rows_read for reader in readers)
