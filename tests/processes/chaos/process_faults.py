"""What can happen to services and readers."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tests.processes.chaos.site import ALL, LEASE, NAMES, READERS, SERVICES, Reader
from tests.processes.chaos.steps import Kind, Steps, Wait, kind, pause
from tests.processes.site import Process

if TYPE_CHECKING:
    from tests.processes.chaos.schedule import Chaos


class ProcessFaults:
    """The faults of processes: each of them is about one at a time, which no other fault is about meanwhile."""

    def __init__(self, chaos: Chaos) -> None:
        self._chaos = chaos
        self._site = chaos.site
        self._observer = chaos.observer
        self._chance = chaos.chance
        self.services: dict[str, Process] = {}
        self._busy: set[str] = set()
        self.kinds: list[Kind] = [
            kind(each)
            for each in (self.kill_service, self.end_service, self.suspend_service, self.suspend_past_the_lease)
        ]
        self.kinds += [kind(each) for each in (self.kill_reader, self.suspend_reader, self.block_prepare)]
        if chaos.clocks:
            self.kinds.append(kind(self.jump_clock))

    def start_service(self, name: str) -> None:
        self._observer.say(f"start the {name} service")
        self.services[name] = self._site.service(self._chaos.environment_of(name))

    def start_reader(self, name: str) -> None:
        self._observer.readers[name] = Reader(
            self._site, name, self._chance.randrange(10**6), self._chaos.environment_of(name)
        )

    def _free(self, names: Iterable[str]) -> Wait:
        return Wait(lambda: set(names) - self._busy, "a process that nothing happens to")

    def _take(self, names: Iterable[str]) -> str:
        name = self._chance.choice(sorted(set(names) - self._busy))
        self._busy.add(name)
        return name

    # services ---------------------------------------------------------------------------------------------------------

    def kill_service(self) -> Steps:
        yield self._free(SERVICES)
        name = self._take(SERVICES)
        self._observer.say(f"kill the {name} service")
        self.services[name].signal(signal.SIGKILL)
        self.services[name].wait()
        yield pause(self._chance.uniform(0, 2))
        self.start_service(name)
        self._busy.discard(name)

    def end_service(self) -> Steps:
        yield self._free(SERVICES)
        name = self._take(SERVICES)
        self._observer.say(f"end the {name} service")
        process = self.services[name]
        process.signal(signal.SIGTERM)
        yield Wait(lambda: not process.running, f"the end of process {process.pid}")
        check_end(process)
        self.start_service(name)
        self._busy.discard(name)

    def suspend_service(self) -> Steps:
        yield from self._suspend_service(self._chance.uniform(0.2, 4))

    def suspend_past_the_lease(self) -> Steps:
        """What it holds is taken from it, and it does not know."""
        yield from self._suspend_service(LEASE + self._chance.uniform(1, 3))

    def _suspend_service(self, seconds: float) -> Steps:
        yield self._free(SERVICES)
        name = self._take(SERVICES)
        self._observer.say(f"stop the {name} service for {seconds:.1f} s")
        self.services[name].signal(signal.SIGSTOP)
        yield pause(seconds)
        self.services[name].signal(signal.SIGCONT)
        self._observer.say(f"the {name} service goes on")
        self._busy.discard(name)

    def jump_clock(self) -> Steps:
        """Most processes have the right time; the clocks of some are wrong, each in its own limits."""
        name = self._chance.choice(sorted(self._chaos.clocks))
        clock = self._chaos.clocks[name]
        seconds = self._chance.randint(*clock.limits)
        self._observer.say(f"the clock of {name} jumps to {seconds:+} s")
        clock.jump(seconds)
        yield pause(0)

    # readers ----------------------------------------------------------------------------------------------------------

    def suspend_reader(self) -> Steps:
        yield self._free(READERS)
        reader = self._observer.readers[name := self._take(READERS)]
        self._observer.say(f"stop the reader {name} for a while")
        self._observer.frozen.add(name)
        reader.process.signal(signal.SIGSTOP)
        yield pause(self._chance.uniform(0.5, 8))
        reader.process.signal(signal.SIGCONT)
        reader.disturbed_at = time.monotonic()
        self._observer.frozen.discard(name)
        self._busy.discard(name)

    def kill_reader(self) -> Steps:
        """Its successor knows nothing of what it held."""
        yield self._free(READERS)
        reader = self._observer.readers[name := self._take(READERS)]
        self._observer.say(f"kill the reader {name}")
        self._observer.frozen.add(name)
        reader.process.signal(signal.SIGKILL)
        reader.process.wait()
        reader.start(self._chance.randrange(10**6))
        self._observer.frozen.discard(name)
        self._busy.discard(name)

    def block_prepare(self) -> Steps:
        """One dataset stands still in one reader; all else goes on, there and elsewhere."""
        yield self._free(READERS)
        reader = self._take(READERS)
        name = f"{self._chance.choice(sorted(NAMES))}-slow"
        told = self._observer.readers[reader]
        self._observer.say(f"block prepare() of {name} in the reader {reader}")
        self._site.blocker(name, reader).touch()
        yield Wait(lambda: (told.dataset(name)["busy_with"] or "").startswith("prepare()"), "a prepare() that is stuck")
        self._chaos.blocked.add((reader, name))
        yield self._chaos.arrival(ALL)
        yield Wait(lambda: _says_that_it_is_stuck(told.dataset(name)), "the word that it is stuck")
        self._site.blocker(name, reader).unlink()
        self._chaos.blocked.discard((reader, name))
        self._observer.say(f"let {name} in the reader {reader} go on")
        yield self._chaos.arrival([name], [reader])
        self._busy.discard(reader)


def _says_that_it_is_stuck(told: Mapping[str, Any]) -> bool:
    """Tell whether a reader says it of a dataset: by its state, and by the error alone before the first load."""
    return told["state"] == "INTERRUPTED" or (told["version"] is None and "prepare()" in (told["error"] or ""))


def check_end(process: Process) -> None:
    """A service that was told to end has done so, and without a complaint."""
    ended = process.wait()
    # 143: it had not come so far yet that it minds signals.
    assert ended.code in (0, -signal.SIGTERM, 128 + signal.SIGTERM), ended
    assert "Traceback" not in ended.errors, ended.errors[-3000:]
