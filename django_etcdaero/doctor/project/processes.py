"""Processes that read, and which versions they hold."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from django.utils.translation import gettext_noop

from django_etcdaero.datasets.registry import datasets as declared
from django_etcdaero.datasets.state.presence import Process
from django_etcdaero.datasets.state.status import State
from django_etcdaero.doctor.checking import Facts, Verdict, check, error, info, ok, warning
from django_etcdaero.doctor.subjects import Alias
from django_etcdaero.doctor.words import some, span
from django_etcdaero.inspection.holders import holders

from .state import DATASETS, PROCESSES

FOLLOW: Final = 60.0
"""Seconds that processes may take to hold a version that was published."""
SKEW: Final = 5.0
"""Seconds by which a start may lie in the future."""


def name_of(process: Process) -> str:
    """Return host and number."""
    return f"{process.host}/{process.pid}"


@check(
    "processes.registered",
    "processes that read",
    of=Alias,
    needs=(PROCESSES, DATASETS),
    why=gettext_noop("Each process with a reader is registered, and says which versions it holds."),
)
def registered(facts: Facts) -> Iterator[Verdict]:
    found = facts[PROCESSES]
    if not found and facts[DATASETS].overviews:
        yield info("none is registered: nobody reads, or KV was away for longer than SESSION_TTL", "etcdaero_status")
    else:
        hosts = len({each.host for each in found})
        yield ok(f"{len(found)} on {hosts} hosts")


@check(
    "processes.behind",
    "processes on an old version",
    of=Alias,
    needs=(PROCESSES, DATASETS),
    why=gettext_noop("Two processes that hold different versions give different answers."),
)
def behind(facts: Facts) -> Iterator[Verdict]:
    found, running = facts[DATASETS], facts[PROCESSES]
    for each in found.overviews:
        current, dataset = each.stored.current, declared.get(each.name)
        if current is None or dataset is None or found.at - current.published_at < FOLLOW:
            continue
        readers = holders(dataset, current.version, running)
        late = [one for one in readers.behind if one.versions[each.name] is not None]
        if late:
            told = some([f"{name_of(one)} on {one.versions[each.name]}" for one in late])
            yield warning(
                f"{each.name}: {len(late)} of {readers.total} processes do not hold version {current.version}: {told}",
                "their logs say why; restart what does not follow",
            )
    yield ok("none")


@check(
    "processes.states",
    "processes that say that something is wrong",
    of=Alias,
    needs=(PROCESSES,),
    why=gettext_noop(
        "STALE: reading raises. INTERRUPTED: an older version is served, because a store is away or a load fails. "
        "INITIALIZING: nothing is loaded yet."
    ),
)
def states(facts: Facts) -> Iterator[Verdict]:
    for state, say in ((State.STALE, error), (State.INTERRUPTED, warning), (State.INITIALIZING, warning)):
        found = [
            f"{name_of(each)} ({name})"
            for each in facts[PROCESSES]
            for name, told in each.states.items()
            if told == state and not (state is State.INITIALIZING and time.time() - each.started < FOLLOW)
        ]
        if found:
            yield say(f"{state}: {some(found)}", "their logs and status() say why")
    yield ok("none")


@check(
    "processes.clocks",
    "clocks of the hosts that read",
    of=Alias,
    needs=(PROCESSES,),
    why=gettext_noop("Ages and times of expiry are told by clocks of hosts."),
)
def clocks(facts: Facts) -> Iterator[Verdict]:
    now = time.time()
    ahead = {each.host: each.started - now for each in facts[PROCESSES] if each.started - now > SKEW}
    for host, skew in ahead.items():
        yield warning(f"a process of {host} will start in {span(skew)}: its clock is ahead", "chronyc tracking, on it")
    yield ok("none is ahead, as far as starts of processes tell")
