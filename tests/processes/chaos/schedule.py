"""The faults of the chaos: several at once, in an order that follows from the seed; and how it begins and ends."""

from __future__ import annotations

import itertools
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

LANES = (1, 1, 3 if FAULTS else 2)
"""So many faults at most of etcd, of the record stores, and of processes and operators, go on at the same time."""
IN_A_ROW = 25 if FAULTS else 10
"""So many faults begin before everything has to arrive everywhere."""
BETWEEN = 1.5
"""Seconds at most from the end of a fault until another one takes its place."""


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
        self.etcd = stores.etcd
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
        """Seconds from the end of some faults until what sources said then was read everywhere."""
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
            left = max(faults, kinds) - self.count
            self._some(left if 0 < left < IN_A_ROW else IN_A_ROW)
            assert not self.away, self.away
            assert not self.blocked, self.blocked
            self.observer.until(self.etcd.agrees, "members of etcd that have the same data")
            self.recoveries.append(self.observer.until(*self.arrival(ALL)))

    def _some(self, count: int) -> None:
        """Let so many faults happen."""
        left = count
        running: list[list[Running]] = [[] for _ in LANES]

        def over() -> bool:
            nonlocal left
            for lane, waiting, kinds, width in zip(running, self._waiting, self._kinds, LANES, strict=True):
                ended = [each for each in lane if each.ends()]
                self.happened.update(each.kind.name for each in ended)
                lane[:] = [each for each in lane if each not in ended]
                if left and len(lane) < width:
                    taken = frozenset(group for each in itertools.chain(*running) for group in each.kind.groups)
                    if (kind := self._next(waiting, kinds, taken)) is not None:
                        lane.append(Running(kind, self.chance.uniform(0, BETWEEN)))
                        left -= 1
            self.operators.look_after_one_shots()
            return not left and not any(running)

        self.observer.until(over, f"{count} faults", count * BOUND)

    def _next(self, waiting: list[Kind], kinds: list[Kind], taken: frozenset[str]) -> Kind | None:
        """Return, of what may happen now, the kind that has waited for longest; each comes as often as the others."""
        if len(waiting) < len(kinds):
            waiting += self.chance.sample(kinds, len(kinds))
        chosen = next((each for each in waiting if not each.groups & taken), None)
        if chosen is not None:
            waiting.remove(chosen)
        return chosen

    # what arrives -----------------------------------------------------------------------------------------------------

    def arrival(self, names: Iterable[str], readers: Iterable[str] = READERS) -> Wait:
        """Change sources; what is waited for is that readers have what they say now, where nothing is in the way."""
        wanted = {name: self.site.bump(name) for name in names}
        late = {(reader, name) for reader in readers for name in wanted}

        def arrived() -> bool:
            reports = {reader: self.observer.readers[reader].report().get("datasets", {}) for reader, _ in late}
            there = {
                pair for pair in late if reports[pair[0]] and reports[pair[0]][pair[1]]["number"] >= wanted[pair[1]]
            }
            late.difference_update(there)
            if there and not late:
                self.observer.say(f"the last to arrive were {sorted(there)}")
            return all(self._hindered(*pair) for pair in late)

        return Wait(arrived, f"the arrival of {wanted} in {list(readers)}")

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
