"""Running the checks: all probes side by side, each with a limit, and everything within one deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.inspection.together import together, within
from django_etcdaero.system.clocks import monotonic

from .catalogue import CHECKS
from .checking import Check, Facts, Probe
from .report import Finding, Report
from .subjects import Subject, credentials, find_subjects

TIMEOUT: Final = 10.0
"""Seconds that an examination may take, unless it is told otherwise."""
MASK: Final = "***"


def examine(
    *,
    aliases: Collection[str] | None = None,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    timeout: float = TIMEOUT,
    write_probe: bool = False,
) -> Report:
    """Run the checks and return what they found; what is down or hangs is a finding.

    ``aliases``: of ``ETCDAERO``; ``None``: all, and the caches. ``only`` and ``skip``: ids of checks or beginnings of
    them (``etcd``, ``etcd.quota``). ``timeout``: seconds for everything. ``write_probe``: also run the checks that
    write, each a key or record of its own that it deletes again. Without it nothing is changed anywhere.

    Raises ``InvalidRequest`` for an id that no check has.
    """
    began, started = monotonic(), time.time()
    chosen = select(only=only, skip=skip, write_probe=write_probe)
    subjects = find_subjects(aliases)
    visits = [_Visit(subject, [each for each in chosen if each.subject is type(subject)]) for subject in subjects]
    _bring(visits, timeout=timeout)
    secrets = credentials()
    findings = [_masked(finding, secrets) for visit in visits for finding in visit.findings()]
    return Report(findings=tuple(findings), started=started, seconds=monotonic() - began)


def select(*, only: Iterable[str] = (), skip: Iterable[str] = (), write_probe: bool = False) -> list[Check]:
    """Return the checks that are meant. Raises ``InvalidRequest`` for what is no id and no beginning of one."""
    for given in (*only, *skip):
        if not any(_is_meant(each, given) for each in CHECKS):
            areas = ", ".join(dict.fromkeys(each.area for each in CHECKS))
            raise InvalidRequest(f"no check is called {given!r}; areas: {areas}")
    return [
        each
        for each in CHECKS
        if (not only or any(_is_meant(each, given) for given in only))
        and not any(_is_meant(each, given) for given in skip)
        and (write_probe or not each.writes)
    ]


def _is_meant(each: Check, given: str) -> bool:
    return each.id == given or each.id.startswith(f"{given}.") or (given.endswith(".") and each.id.startswith(given))


@dataclass
class _Visit:
    """One subject, and what is to be found out about it."""

    subject: Subject
    checks: list[Check]
    brought: dict[Probe[Any], Any] = field(default_factory=dict)

    @property
    def probes(self) -> list[Probe[Any]]:
        return list(dict.fromkeys(probe for each in self.checks for probe in each.needs))

    def findings(self) -> list[Finding]:
        facts = Facts(self.subject, self.brought)
        return [finding for each in self.checks for finding in each.findings(facts)]


def _bring(visits: Sequence[_Visit], *, timeout: float) -> None:
    """Run all probes; one that has not come to its end in time has brought that."""
    questions: dict[tuple[int, Probe[Any]], Callable[[], Any]] = {
        (index, probe): partial(probe.ask, visit.subject, within(timeout))
        for index, visit in enumerate(visits)
        for probe in visit.probes
    }
    for (index, probe), brought in together(questions, timeout=timeout).items():
        visits[index].brought[probe] = brought


def _masked(finding: Finding, secrets: Collection[str]) -> Finding:
    """Take passwords out, should a message of a server or of code of the project have one."""
    seen, remedy = finding.seen, finding.remedy
    for secret in secrets:
        seen, remedy = seen.replace(secret, MASK), remedy.replace(secret, MASK)
    return finding if (seen, remedy) == (finding.seen, finding.remedy) else replace(finding, seen=seen, remedy=remedy)
