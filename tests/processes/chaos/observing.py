"""What must hold at every moment of the chaos, and waiting in which it is looked after."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from tests.processes.chaos.published import Published
from tests.processes.chaos.site import ALL, ASKED, FAULTS, ChaosSite, Reader
from tests.waiting import wait_until

PATIENCE = 2 if FAULTS else 1
"""The long form has more processes than a machine has cores, and faults follow each other without a break."""
BOUND = 150.0 * PATIENCE
"""Seconds for what usually takes two or three: from a change in a source until readers have it."""
SILENCE = 150.0 * PATIENCE
"""Seconds in which a reader that nobody holds must have read everything once more."""
OUTDATED = 90.0 * PATIENCE
"""Seconds for which a reader may call a version valid that is no longer the one announced: ten that it may be busy, and
then what it usually needs, many times over."""


class Observer:
    """Looks at what readers tell, and keeps a log of what was done to the deployment."""

    def __init__(self, site: ChaosSite, published: Published) -> None:
        self.site = site
        self.published = published
        self.readers: dict[str, Reader] = {}
        self.events: list[str] = []
        self.frozen: set[str] = set()
        """Readers that are stopped."""
        self._passes: dict[str, tuple[int, float]] = {}
        self._outdated: dict[tuple[str, str], tuple[int, float]] = {}
        self._begun = time.monotonic()

    def say(self, what: str) -> None:
        self.events.append(f"{time.monotonic() - self._begun:7.2f} {what}")
        with open(self.site.directory / "story", "a") as story:  # for who wants to know how far it is
            story.write(self.events[-1] + "\n")

    def look(self) -> None:
        """Check what holds at every moment."""
        for reader in self.readers.values():
            assert reader.process.running, f"the reader {reader.name} ended:\n{reader.process.errors[-3000:]}"
            told = reader.report()
            if not told or reader.name in self.frozen:
                continue
            assert not told["problems"], f"{reader.name}: {told['problems']}"
            now = time.monotonic()
            passes, since = self._passes.get(reader.name, (-1, now))
            if told["passes"] != passes:
                self._passes[reader.name] = (told["passes"], now)
            else:
                silent = now - max(since, reader.disturbed_at)
                assert silent < SILENCE, f"{reader.name} has read nothing for {silent:.0f} s"
            for name in ALL + ASKED:
                self._look_at_version(reader, name, told["datasets"][name]["state"], told["datasets"][name]["version"])

    def _look_at_version(self, reader: Reader, name: str, state: str, version: int) -> None:
        current = self.published.current(name)
        key = (reader.name, name)
        if state != "VALID" or current is None or version == current[0]:
            self._outdated.pop(key, None)
            return
        now = time.monotonic()
        wanted, since = self._outdated.get(key, (current[0], now))
        if wanted != current[0]:  # several in a row: it may always be one behind
            wanted, since = current[0], now
        self._outdated[key] = (wanted, since)
        late = now - max(since, reader.disturbed_at)
        assert late < OUTDATED, f"{name} in {reader.name}: VALID with {version} for {late:.0f} s, announced is {wanted}"

    def age(self) -> float:
        """Seconds since it began to look."""
        return time.monotonic() - self._begun

    def until(self, condition: Callable[[], object], what: str, bound: float = BOUND) -> float:
        """Wait for a condition; look after everything else meanwhile. Return how many seconds it took."""

        def looked_at() -> object:
            self.look()
            return condition()

        begun = time.monotonic()
        wait_until(looked_at, bound, what)
        took = time.monotonic() - begun
        self.say(f"  {what}: after {took:.1f} s")
        return took

    def story(self) -> str:
        """Return the last of what was done, and what everybody says."""
        reports = [f"{name}: {json.dumps(reader.report())}" for name, reader in self.readers.items()]
        return "\n".join(
            [
                f"the last events (times count from {self._begun:.1f}):",
                *self.events[-150:],
                *reports,
                f"announced: {dict(self.published.since)}",
            ]
        )
