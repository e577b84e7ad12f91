"""The faults of the chaos: in an order that follows from the seed."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter

from tests.processes.chaos.clocks import WrongClock
from tests.processes.chaos.observing import BOUND, Observer
from tests.processes.chaos.site import ALL, ASKED, GUARDED, NAMES, READERS, SERVICES, ChaosSite, Reader
from tests.processes.chaos.store_faults import Fault, StoreFaults
from tests.processes.chaos.stores import Stores
from tests.processes.site import Agent, Process

ALLOWED = {
    None,
    "ClusterError",
    "ClusterTimeout",
    "DeadlineExceeded",
    "Fenced",
    "KeyNotFound",
    "OutcomeUnknown",
    "StoreBusy",
    "StoreFull",
    "TxnFailed",
}
"""What an operator may meet while stores are away or full and others publish."""
LOST = {"CorruptBlock", "MissingRecords"}
"""What else a rollback may meet when records were lost."""


class Chaos:
    """Services, readers and an operator, and all that happens to them."""

    def __init__(
        self, site: ChaosSite, stores: Stores, observer: Observer, chance: random.Random, clock: WrongClock | None
    ) -> None:
        self.site = site
        self.observer = observer
        self.chance = chance
        self.clock = clock
        """That of the second service, if it can be wrong."""
        self.services: dict[str, Process] = {}
        self.one_shots: list[Process] = []
        self.rolled_back: Counter[tuple[str, int]] = Counter()
        self.pinned: set[str] = set()
        self.lost: set[str] = set()
        """Aliases whose records were lost once."""
        self.asked: list[tuple[str, int]] = []
        """What was asked for, without an error, when the source was at this number."""
        self.operator: Agent
        self.count = 0
        """How many faults there were."""
        self._stores = StoreFaults(self, stores)
        self._small: list[Fault] = []
        self._settled = threading.Event()
        self._sources = threading.Thread(target=self._change_sources, daemon=True)

    def _change_sources(self) -> None:
        while not self._settled.wait(0.7):
            for name in ALL:
                self.site.bump(name)

    # the schedule -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        for name in SERVICES:
            self._start_service(name)
        for name in READERS:
            self.observer.readers[name] = Reader(self.site, name, self.chance.randrange(10**6))
        self.operator = self.site.agent()
        self.observer.wait_for_arrival(ALL)
        self._sources.start()

    def run(self, seconds: float) -> None:
        """Do each of the great faults once at least, others between them, for about so many seconds."""
        end = time.monotonic() + seconds
        great = [*self._stores.great, self.block_prepare]
        done = 0
        while done < len(great) or time.monotonic() < end:
            if done % len(great) == 0:
                self.chance.shuffle(great)
            for _ in range(2):
                self.small_fault()
            great[done % len(great)]()
            done += 1
            self.count += 1

    def small_fault(self) -> None:
        if not self._small:  # each of them once before any of them again
            self._small = [
                *(self.kill_service, self.end_service, self.suspend_service, self.suspend_reader, self.kill_reader),
                *(self.refresh_once, self.request, self.roll_back, self.unpin, self.refuse, *self._stores.small),
            ]
            if self.clock is not None:
                self._small.append(self.jump_clock)
            self.chance.shuffle(self._small)
        self._small.pop()()
        self.count += 1
        self.observer.pause(self.chance.uniform(0, 1))
        self._look_after_one_shots()

    # services ---------------------------------------------------------------------------------------------------------

    def _start_service(self, name: str) -> None:
        self.observer.say(f"start the {name} service")
        wrong = self.clock is not None and name == "second"
        self.services[name] = self.site.service(self.clock.environment if wrong and self.clock else {})

    def _any_service(self) -> str:
        return self.chance.choice(sorted(self.services))

    def kill_service(self) -> None:
        name = self._any_service()
        self.observer.say(f"kill the {name} service")
        self.services[name].signal(signal.SIGKILL)
        self.services[name].wait()
        self.observer.pause(self.chance.uniform(0, 2))
        self._start_service(name)

    def end_service(self) -> None:
        name = self._any_service()
        self.observer.say(f"end the {name} service")
        self._end_well(self.services[name])
        self._start_service(name)

    def _end_well(self, process: Process) -> None:
        process.signal(signal.SIGTERM)
        self.observer.until(lambda: not process.running, f"the end of process {process.pid}")
        ended = process.wait()
        # 143: it had not come so far yet that it minds signals.
        assert ended.code in (0, -signal.SIGTERM, 128 + signal.SIGTERM), ended
        assert "Traceback" not in ended.errors, ended.errors[-3000:]

    def suspend_service(self) -> None:
        name = self._any_service()
        self.observer.say(f"stop the {name} service for a while")
        self.services[name].signal(signal.SIGSTOP)
        self.observer.pause(self.chance.choice([0.2, 1, 4]))
        self.services[name].signal(signal.SIGCONT)

    def jump_clock(self) -> None:
        assert self.clock is not None
        seconds = self.chance.randint(-45, 90)
        self.observer.say(f"the clock of the second service jumps to {seconds:+} s")
        self.clock.jump(seconds)

    # readers ----------------------------------------------------------------------------------------------------------

    def suspend_reader(self) -> None:
        reader = self.observer.readers[self.chance.choice(sorted(READERS))]
        self.observer.say(f"stop the reader {reader.name} for a while")
        self.observer.frozen.add(reader.name)
        reader.process.signal(signal.SIGSTOP)
        self.observer.pause(self.chance.uniform(0.5, 4))
        reader.process.signal(signal.SIGCONT)
        reader.disturbed_at = time.monotonic()
        self.observer.frozen.discard(reader.name)

    def kill_reader(self) -> None:
        """Its successor knows nothing of what it held."""
        reader = self.observer.readers[self.chance.choice(sorted(READERS))]
        self.observer.say(f"kill the reader {reader.name}")
        self.observer.frozen.add(reader.name)
        reader.process.signal(signal.SIGKILL)
        reader.process.wait()
        reader.start(self.chance.randrange(10**6))
        self.observer.frozen.discard(reader.name)

    def block_prepare(self) -> None:
        """One dataset stands still in one reader; all else goes on, there and elsewhere."""
        reader = self.chance.choice(sorted(READERS))
        name = f"{self.chance.choice(sorted(NAMES))}-slow"
        others = [other for other in READERS if other != reader]
        self.observer.say(f"block prepare() of {name} in the reader {reader}")
        self.site.blocker(name, reader).touch()
        told = self.observer.readers[reader]
        self.observer.until(
            lambda: (told.dataset(name)["busy_with"] or "").startswith("prepare()"), "a prepare() that is stuck"
        )
        self.small_fault()
        self.observer.wait_for_arrival([each for each in ALL if each != name and each not in self.pinned])
        self.observer.wait_for_arrival([name], others)
        self.observer.until(lambda: told.dataset(name)["state"] == "INTERRUPTED", "the word that it is stuck")
        self.site.blocker(name, reader).unlink()
        self.observer.say("let it go on")
        self.observer.wait_for_arrival([name], [reader])

    # operators --------------------------------------------------------------------------------------------------------

    def refresh_once(self) -> None:
        names = self.chance.sample(ALL, self.chance.randint(1, 3))
        self.observer.say(f"refresh {names} once")
        self.one_shots.append(self.site.start("etcdaero_refresh", *names, "--force", "--wait", "5", "--json"))

    def _look_after_one_shots(self, *, wait: bool = False) -> None:
        for process in list(self.one_shots):
            if wait or not process.running:
                self.one_shots.remove(process)
                ended = process.wait()
                self.observer.say(f"refreshed once: {[(each['name'], each['outcome']) for each in ended.results]}")
                assert ended.code in (0, 1), ended
                assert "Traceback" not in ended.errors, ended

    def _ask(self, *command: str) -> dict[str, object]:
        answer: dict[str, object] = self.operator.ask(" ".join(command))
        self.observer.say(f"{' '.join(command)}: {answer}")
        lost = LOST if command[0] == "roll_back" and self.lost else set()
        assert answer["raised"] in ALLOWED | lost, (command, answer)
        return answer

    def request(self) -> None:
        """Ask for a load; what nobody loads otherwise is not lost."""
        self._ask("request", self.chance.choice(ALL))
        name = self.chance.choice(ASKED)
        number = self.site.bump(name)
        if self._ask("request", name)["raised"] is None:
            self.asked.append((name, number))

    def roll_back(self) -> None:
        name = self.chance.choice(GUARDED)
        self.pinned.add(name)
        answer = self._ask("roll_back", name, str(self.chance.randint(1, 3)))
        if isinstance(version := answer.get("version"), int):
            self.rolled_back[name, version] += 1
            if answer["raised"] is None and not (self._stores.server_away and name in NAMES["servers"]):
                readers = self.observer.readers.values()
                self.observer.until(
                    lambda: all(reader.dataset(name)["version"] == version for reader in readers),
                    f"all readers to hold version {version} of {name}",
                )

    def unpin(self) -> None:
        name = self.chance.choice(GUARDED)
        if self._ask("unpin", name)["raised"] is None:
            self.pinned.discard(name)

    def refuse(self) -> None:
        """Let a source give for a while what a validator refuses."""
        name = self.chance.choice(GUARDED)
        self.observer.say(f"the source of {name} is bad")
        self.site.bad.add(name)
        self.observer.pause(self.chance.uniform(1, 3))
        self.site.bad.discard(name)
        self.site.bump(name)
        self.observer.say(f"the source of {name} is good again")

    # the end ----------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """No more faults: everybody gets the newest, and says that it is valid."""
        self._settled.set()
        self._sources.join(BOUND)
        self._look_after_one_shots(wait=True)
        for name in GUARDED:
            assert self._ask("unpin", name)["raised"] is None
        self.pinned.clear()
        self.observer.say("no more faults")
        self.observer.until(self._answered, "the answers to all requests")
        self.observer.wait_for_arrival(ALL)

        for name in ASKED:  # whatever was lost of it is published anew
            number = self.site.bump(name)
            self._ask("request", name)
            self.asked.append((name, number))

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
            for name, number in self.asked
        )

    def end(self) -> None:
        """Everybody ends when told to."""
        for service in self.services.values():
            self._end_well(service)
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
