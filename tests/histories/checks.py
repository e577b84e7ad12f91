"""What must hold for the recorded histories of all workers, whatever happened to the cluster meanwhile."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the store, as the healed cluster's own history tells it."""

    key: str
    revision: int
    value: str

    @property
    def facts(self) -> Record:
        """What the writer put into the value."""
        return dict(json.loads(self.value))


@dataclass(frozen=True, slots=True)
class Stay:
    """One contender's time in a queue: the revisions at which its key was created and deleted."""

    key: str
    created: int
    deleted: float


def acknowledged_writes_are_there(records: Iterable[Record], history: Sequence[Change]) -> None:
    """Each write that was answered is in the history, once, at the revision that its writer was told."""
    written = {change.facts["name"]: change for change in history}
    for record in records:
        if record["kind"] == "write" and record["outcome"] == "done":
            change = written.get(record["name"])
            assert change is not None, f"an acknowledged write is lost: {record}"
            assert (change.key, change.revision) == (record["key"], record["revision"]), (record, change)


def nothing_else_is_there(records: Iterable[Record], history: Sequence[Change]) -> None:
    """No write happened twice, none that was refused or certainly not applied happened, none came from nowhere."""
    outcomes = {record["name"]: record["outcome"] for record in records if record["kind"] == "write"}
    times = Counter(change.facts["name"] for change in history)
    for name, count in times.items():
        assert count == 1, f"write {name} happened {count} times"
        assert outcomes.get(name) in ("done", "unknown", "sent"), f"write {name} happened: {outcomes.get(name)}"


def no_update_is_lost(history: Sequence[Change]) -> None:
    """Each value of a register replaced the one that its writer had read."""
    for key in {change.key for change in history if change.key.startswith("registers/")}:
        changes = [change for change in history if change.key == key]
        assert changes[0].facts["base"] == 0
        for before, after in pairwise(changes):
            assert after.facts["base"] == before.revision, (before, after)


def one_holder_after_the_other(history: Sequence[Change], key: str) -> int:
    """Guarded writes bear growing tokens: once a later holder has written no earlier one can. Return the holders."""
    tokens = [change.facts["token"] for change in history if change.key == key]
    for before, after in pairwise(tokens):
        assert before <= after, f"{key}: a holder with token {after} wrote after one with token {before}"
    return len(set(tokens))


def mirror_saw_everything(
    start: dict[str, str], changes: Sequence[Record], history: Sequence[Change], who: str
) -> list[Change]:
    """A mirror begins with what was there at some moment and is told all that came after it; return that."""
    state: dict[str, str] = {}
    rest = list(history)
    while state != start:
        assert rest, f"{who}: at no moment there was just {start}"
        change = rest.pop(0)
        state[change.key] = change.value
    watch_saw_everything(changes, rest[: len(changes)], who)
    return rest[len(changes) :]


def only_the_first_hold(history: Sequence[Change], key: str, queue: Sequence[Stay], *, fewer_than: int) -> int:
    """At each guarded write its writer was in the queue, and fewer were before it. Return the holders.

    So never more than ``fewer_than`` held at the same time, and nobody held who had overtaken somebody.
    """
    for change in history:
        if change.key == key:
            there = [stay for stay in queue if stay.created < change.revision < stay.deleted]
            token = change.facts["token"]
            assert token in [stay.created for stay in there] or token not in [stay.created for stay in queue], change
            before = [stay for stay in there if stay.created < token]
            assert len(before) < fewer_than, f"{key}: {change} was written while {before} were before it"
    return len({change.facts["token"] for change in history if change.key == key})


def watch_saw_everything(events: Sequence[Record], history: Sequence[Change], who: str) -> None:
    """The events of one watch are the history of its range: none missing, none twice, in order."""
    seen = [Change(event["key"], event["revision"], event["value"]) for event in events]
    for position, (got, expected) in enumerate(zip(seen, history, strict=False)):
        assert got == expected, f"{who}: event {position} is {got}, and {expected} was to come"
    assert len(seen) == len(history), f"{who}: {len(seen)} events of {len(history)}"
