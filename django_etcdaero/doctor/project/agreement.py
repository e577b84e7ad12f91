"""Whether the processes of a project agree, and whether what they hold fits into the memory of their host."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from django.utils.translation import gettext_noop

from django_etcdaero.datasets.registry import datasets
from django_etcdaero.doctor.checking import Facts, NotVisible, Probe, Verdict, check, info, ok, warning
from django_etcdaero.doctor.subjects import Alias
from django_etcdaero.doctor.words import size, some
from django_etcdaero.inspection.processes import differing, identity

from .processes import name_of
from .state import PROCESSES

IN_MEMORY: Final = 14
"""Bytes of memory that rows take for each byte in which they are stored, about; measured with a million rows."""
MUCH: Final = 0.5
"""Part of the host's memory that rows may take without a word."""

_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def _memory(alias: Alias, timeout: float) -> int:
    """Return the bytes of memory that the processes of this host, or of this container, may use together."""
    found = [int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemTotal:")]
    for path in _LIMITS:
        found += [int(line) for line in _lines(path) if line.isdigit()]
    if not found:
        raise NotVisible("this system does not tell how much memory there is")
    return min(found)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


MEMORY = Probe("memory", _memory)


@check(
    "processes.settings",
    "whether processes have the same settings",
    of=Alias,
    needs=(PROCESSES,),
    why=gettext_noop(
        "Processes with another RECORDS look for rows elsewhere, and those with another GARBAGE_TTL or LOCK_TTL delete "
        "and lock by other rules. In the middle of a deployment they differ for a while."
    ),
)
def settings(facts: Facts) -> Iterator[Verdict]:
    running = facts[PROCESSES]
    odd = differing(running)
    names = {identity(each): name_of(each) for each in running}
    for setting in sorted({name for found in odd.values() for name in found}):
        who = [names[each] for each, found in odd.items() if setting in found]
        yield warning(
            f"{setting} differs: {some(who)} {'has' if len(who) == 1 else 'have'} another than most of {len(running)}",
            "python manage.py etcdaero_processes --json; restart those that began before the settings changed",
        )
    software = Counter(
        f"{name} {found}" for each in running for name, found in each.software.items() if name == "django-etcdaero"
    )
    if len(software) > 1:
        told = ", ".join(f"{count} with {name}" for name, count in software.most_common())
        yield info(f"different versions run: {told}", "finish the deployment")
    yield ok("all that tell theirs have the same")


@check(
    "processes.memory",
    "rows in memory against that of this host",
    of=Alias,
    needs=(PROCESSES, MEMORY),
    why=gettext_noop(
        "Each process holds the rows of all datasets that it reads, but for shared ones, and twice those of the "
        "largest for a moment when a new version is taken into use. A host without memory ends processes."
    ),
)
def memory(facts: Facts) -> Iterator[Verdict]:
    host = socket.gethostname()
    here = [each for each in facts[PROCESSES] if each.host == host]
    shared = {each.name for each in datasets.values() if each.shared}
    taken = []
    for each in here:
        stored = [count for name, count in each.stored_bytes.items() if name not in shared]
        taken.append(IN_MEMORY * (sum(stored) + max(stored, default=0)))
    together, most = sum(taken), facts[MEMORY]
    said = f"the rows of {len(here)} processes of this host take about {size(together)} of {size(most)}"
    if together > most:
        yield warning(said, "fewer processes with more threads, fewer rows, or more memory")
    elif together > MUCH * most:
        yield info(said, "fewer processes with more threads, fewer rows, or more memory")
    yield ok(said)
