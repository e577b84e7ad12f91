"""What operators do, and sources."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.processes.chaos.site import ALL, ASKED, GUARDED, alias_of
from tests.processes.chaos.steps import Kind, Steps, Wait, kind, pause
from tests.processes.site import Agent, Process

if TYPE_CHECKING:
    from tests.processes.chaos.schedule import Chaos

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


class Operators:
    """One process that does what operators do, and commands that refresh once."""

    def __init__(self, chaos: Chaos) -> None:
        self._chaos = chaos
        self._site = chaos.site
        self._observer = chaos.observer
        self._chance = chaos.chance
        self.agent: Agent
        self.rolled_back: Counter[tuple[str, int]] = Counter()
        self.asked: list[tuple[str, int]] = []
        """What was asked for, without an error, when the source was at this number."""
        self._one_shots: list[Process] = []
        self.kinds: list[Kind] = [
            kind(self.refresh_once),
            kind(self.request),
            kind(self.roll_back, "operator", "kept"),
            kind(self.unpin, "operator"),
            kind(self.refuse, "operator"),
        ]

    def start(self) -> None:
        self.agent = self._site.agent()

    def ask(self, *command: str) -> dict[str, object]:
        answer: dict[str, object] = self.agent.ask(" ".join(command))
        self._observer.say(f"{' '.join(command)}: {answer}")
        lost = LOST if command[0] == "roll_back" and self._chaos.lost else set()
        assert answer["raised"] in ALLOWED | lost, (command, answer)
        return answer

    def refresh_once(self) -> Steps:
        names = self._chance.sample(ALL, self._chance.randint(1, 3))
        self._observer.say(f"refresh {names} once")
        self._one_shots.append(self._site.start("etcdaero_refresh", *names, "--force", "--wait", "5", "--json"))
        yield pause(0)

    def look_after_one_shots(self, *, wait: bool = False) -> None:
        for process in list(self._one_shots):
            if wait or not process.running:
                self._one_shots.remove(process)
                ended = process.wait()
                self._observer.say(f"refreshed once: {[(each['name'], each['outcome']) for each in ended.results]}")
                assert ended.code in (0, 1), ended
                assert "Traceback" not in ended.errors, ended

    def request(self) -> Steps:
        """Ask for a load; what nobody loads otherwise is not lost."""
        self.ask("request", self._chance.choice(ALL))
        self.request_asked(self._chance.choice(ASKED))
        yield pause(0)

    def request_asked(self, name: str) -> bool:
        """Ask for what is loaded only then; tell whether that was done."""
        number = self._site.bump(name)
        if self.ask("request", name)["raised"] is not None:
            return False
        self.asked.append((name, number))
        return True

    def roll_back(self) -> Steps:
        name = self._chance.choice(GUARDED)
        self._chaos.pinned.add(name)
        answer = self.ask("roll_back", name, str(self._chance.randint(1, 3)))
        if isinstance(version := answer.get("version"), int):
            self.rolled_back[name, version] += 1
            if answer["raised"] is None:
                readers = self._observer.readers.values()
                yield Wait(
                    lambda: (
                        alias_of(name) in self._chaos.away
                        or all(reader.dataset(name)["version"] == version for reader in readers)
                    ),
                    f"all readers to hold version {version} of {name}",
                )

    def unpin(self) -> Steps:
        name = self._chance.choice(GUARDED)
        if self.ask("unpin", name)["raised"] is None:
            self._chaos.pinned.discard(name)
        yield pause(0)

    def refuse(self) -> Steps:
        """Let a source give for a while what a validator refuses."""
        name = self._chance.choice(GUARDED)
        self._observer.say(f"the source of {name} is bad")
        self._site.bad.add(name)
        yield pause(self._chance.uniform(1, 3))
        self._site.bad.discard(name)
        self._site.bump(name)
        self._observer.say(f"the source of {name} is good again")
