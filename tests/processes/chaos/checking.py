"""What must hold for what was recorded: what was loaded, announced and pinned, and what readers have seen of it.

Each check returns what is wrong, nothing if all is well.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Line = dict[str, Any]
"""What a process has written down: of a version that a reader has seen, of a load, of a refresh."""


class Identity(NamedTuple):
    """Tells one version from all others."""

    version: int
    published_at: float


class Announced(NamedTuple):
    """An announcement, as a watch saw it."""

    revision: int
    version: int
    published_at: float
    load_started: float
    root: str
    rows: int
    publisher: str
    era: int = 0
    """How often the store was emptied or restored before: revisions and versions begin anew with each."""

    @property
    def identity(self) -> Identity:
        return Identity(self.version, self.published_at)


class Pinned(NamedTuple):
    """A pin that was set, or taken away (no version), as a watch saw it."""

    revision: int
    version: int | None
    era: int = 0


def followed(
    lines: Iterable[Line], announced: Mapping[str, Sequence[Announced]], rolled_back: Counter[tuple[str, int]]
) -> list[str]:
    """Each process has seen what was announced: nothing else, in its order, and back only after a rollback.

    Where the store was emptied or restored in between, back is where it begins again. ``announced``: everything, with
    no gap in it.
    """
    wrong: list[str] = []
    rows: dict[tuple[str, Identity], set[int]] = defaultdict(set)
    for name, all_ in announced.items():
        for each in all_:
            rows[name, each.identity].add(each.rows)
    seen: dict[tuple[int, str], list[Identity]] = defaultdict(list)
    for line in lines:
        versions = seen[line["pid"], line["name"]]
        identity = Identity(line["version"], line["published_at"])
        told = rows.get((line["name"], identity))
        if not told:
            wrong.append(f"never announced: {line}")
        elif told != {line["rows"]}:
            wrong.append(f"announced with {told} rows: {line}")
        if versions[-1:] != [identity]:
            versions.append(identity)
    for (pid, name), versions in seen.items():
        where, back = f"{name} in process {pid}", Counter[int]()
        rest = iter(announced.get(name, ()))
        before: Identity | None = None
        era = 0
        for identity in versions:
            if (after := next((each for each in rest if each.identity == identity), None)) is None:
                wrong.append(f"{where}: {identity} was not announced after what it held before")
            if before is not None and identity.version < before.version and (after is None or after.era == era):
                back[identity.version] += 1
            before, era = identity, era if after is None else after.era
        wrong += [
            f"{where}: back to {version} {times} times, rolled back to it {rolled_back[name, version]} times"
            for version, times in back.items()
            if times > rolled_back[name, version]
        ]
    return wrong


def as_loaded(lines: Iterable[Line], loads: Iterable[Line]) -> list[str]:
    """Each version is, everywhere and at all times, what the source had at one moment at which it was loaded."""
    wrong: list[str] = []
    digests: dict[tuple[str, int], set[str]] = defaultdict(set)
    for load in loads:
        if not load["bad"]:
            digests[load["name"], load["number"]].add(load["digest"])
    found: dict[tuple[str, Identity], set[str]] = defaultdict(set)
    for line in lines:
        if line["digest"] not in digests[line["name"], line["number"]]:
            wrong.append(f"not what was loaded of number {line['number']}: {line}")
        found[line["name"], Identity(line["version"], line["published_at"])].add(line["digest"])
    return wrong + [
        f"{name} {identity} had several contents" for (name, identity), all_ in found.items() if len(all_) > 1
    ]


def published_once(announced: Mapping[str, Sequence[Announced]]) -> list[str]:
    """Nobody but one publisher has made a version, and its contents stay what they were, rolled back to or not.

    A store that was restored counts on from its snapshot, so that there may be two of one number: never within an era,
    and what came before it is what it was in the era before.
    """
    wrong: list[str] = []
    for name, versions in announced.items():
        by_number: dict[tuple[int, int], set[tuple[str, str, float]]] = defaultdict(set)
        by_identity: dict[Identity, set[tuple[str, str, float]]] = defaultdict(set)
        for each in versions:
            made = (each.publisher, each.root, each.load_started)
            by_number[each.era, each.version].add(made)
            by_identity[each.identity].add(made)
        several = [(version, by) for (_, version), by in by_number.items()]
        several += [(identity.version, by) for identity, by in by_identity.items()]
        wrong += [f"{name}: version {version} was made as {by}" for version, by in several if len(by) > 1]
    return wrong


def pins_respected(announced: Mapping[str, Sequence[Announced]], pins: Mapping[str, Sequence[Pinned]]) -> list[str]:
    """While there is a pin, only what it names is announced."""
    wrong: list[str] = []
    for name, versions in announced.items():
        for each in versions:
            there = [pin for pin in pins.get(name, ()) if pin.era == each.era and pin.revision <= each.revision]
            held = [pin.version for pin in sorted(there, key=lambda pin: pin.revision)][-1:]
            if held and held[0] not in (None, each.version):
                wrong.append(f"{name}: version {each.version} was announced while {held[0]} was pinned")
    return wrong


def nothing_missed(refreshes: Iterable[Line]) -> list[str]:
    """Where everything was loaded, no row was other than the changes before had told."""
    return [f"changes were missed, or told twice: {each}" for each in refreshes if each.get("drift")]


def answered(asked: Iterable[tuple[str, int]], lines: Iterable[Line]) -> list[str]:
    """Each request was followed by a version that is of what the source had when it was asked, or of later."""
    newest: Counter[str] = Counter()
    for line in lines:
        newest[line["name"]] = max(newest[line["name"]], line["number"])
    return [
        f"{name}: nothing was loaded after number {number} was asked for"
        for name, number in asked
        if newest[name] < number
    ]


def recovered(recoveries: Iterable[float], bound: float) -> list[str]:
    """Each time what sources said after some faults was read everywhere within so many seconds of their end."""
    return [f"recovered only after {took:.0f} s" for took in recoveries if took > bound]
