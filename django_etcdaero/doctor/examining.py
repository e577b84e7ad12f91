"""Running the checks: all probes side by side, each with a limit, and everything within one deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from django_etcdaero.exceptions import DeadlineExceeded, InvalidRequest
from django_etcdaero.runtime import runtime
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.threads import join

from .catalogue import CHECKS
from .checking import Check, Facts, Probe
from .report import Finding, Report
from .subjects import Subject, credentials, find_subjects

TIMEOUT: Final = 10.0
"""Seconds that an examination may take, unless it is told otherwise."""
SHARE: Final = 0.8
"""Part of it that a probe may take, so that what it says of its own limit is still heard."""
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
    _bring(visits, limit=began + timeout, seconds=timeout * SHARE)
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
        facts = Facts(self.subject, dict(self.brought))
        return [finding for each in self.checks for finding in each.findings(facts)]


def _bring(visits: Iterable[_Visit], *, limit: float, seconds: float) -> None:
    """Run all probes; one that has not come to its end by ``limit`` has brought that."""
    under_way = []
    for visit in visits:
        for probe in visit.probes:
            visit.brought[probe] = DeadlineExceeded(f"no answer within {seconds:g} s")
            box: dict[Probe[Any], Any] = {}
            thread = threading.Thread(
                target=_ask, args=(visit.subject, probe, seconds, box), name="etcdaero-doctor", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as failure:  # no more threads to be had
                visit.brought[probe] = failure
            else:
                under_way.append((visit, probe, box, thread))
    for visit, probe, box, thread in under_way:
        join(thread, max(0.0, limit - monotonic()))
        # A thread that goes on writes into a box that nobody looks at any more.
        visit.brought.update({probe: box[probe]} if probe in box else {})


def _ask(subject: Subject, probe: Probe[Any], seconds: float, box: dict[Probe[Any], Any]) -> None:
    def ask() -> Any:
        return probe.ask(subject, seconds)

    try:
        box[probe] = runtime.run_project_code(ask)  # which closes what connections to databases it leaves behind
    except Exception as failure:
        box[probe] = failure
    except BaseException as failure:  # SystemExit, of code of the project
        box[probe] = RuntimeError(f"{type(failure).__name__} in a probe")


def _masked(finding: Finding, secrets: Collection[str]) -> Finding:
    """Take passwords out, should a message of a server or of code of the project have one."""
    seen, remedy = finding.seen, finding.remedy
    for secret in secrets:
        seen, remedy = seen.replace(secret, MASK), remedy.replace(secret, MASK)
    return finding if (seen, remedy) == (finding.seen, finding.remedy) else replace(finding, seen=seen, remedy=remedy)
