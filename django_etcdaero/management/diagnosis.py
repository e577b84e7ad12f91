"""A report of the doctor in words: a line for each place, and under it what is wrong and what mends it."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from django.core.management.color import Style

from django_etcdaero.doctor import Finding, Report, Severity, Swept

WIDTH = 100
"""Characters of a line of an explanation."""

_ORDER = tuple(Severity)


def lines(report: Report, style: Style, *, verbosity: int) -> Iterator[str]:
    """Yield the lines of a report; ``verbosity`` 0: problems only, 1: all places, 2: all checks, 3: with reasons."""
    for (place, aliases), found in groupby(report.findings, key=lambda each: (each.place, each.aliases)):
        findings = list(found)
        shown = [each for each in findings if _is_shown(each, verbosity)]
        if not shown and verbosity < 1:
            continue
        named = f" ({', '.join(aliases)})" if aliases and not place.startswith("alias ") else ""
        yield style.MIGRATE_HEADING(f"{place}{named}: {counted(findings)}")
        for group in _together(shown):
            yield from _told(group, style, verbosity)
    yield f"{counted(report.findings)}, in {report.seconds:.1f} s"


def counted(findings: Iterable[Finding]) -> str:
    """Say how many checks ended how, the worst first; those that there is nothing to look at for are left out."""
    counts = Counter(each.severity for each in findings if each.severity is not Severity.NOT_APPLICABLE)
    order = sorted(counts, key=lambda each: (-each.gravity, _ORDER.index(each)))
    return ", ".join(f"{counts[each]} {each}" for each in order) or "nothing to look at"


def swept_lines(found: list[Swept], style: Style, *, expire: bool) -> Iterator[str]:
    """Yield the lines of a sweep."""
    for each in found:
        if each.error:
            yield style.ERROR(f"alias {each.alias}: {each.error}")
            continue
        total = sum(one.records for one in each.found)
        yield style.MIGRATE_HEADING(f"alias {each.alias}: {total} permanent records that no version names")
        for one in each.found:
            which = f"{one.name} (schema {one.schema}{'' if one.declared else ', not declared'})"
            if one.left_alone:
                yield style.WARNING(f"  {which}: left alone: {one.left_alone}")
            elif expire and one.records:
                yield f"  {which}: {one.expiring} of {one.records} expire after GARBAGE_TTL"
            elif one.records:
                yield f"  {which}: {one.records} records; with --yes they expire after GARBAGE_TTL"


def _is_shown(finding: Finding, verbosity: int) -> bool:
    if finding.severity.gravity:
        return True
    if finding.severity is Severity.NOT_APPLICABLE:
        return verbosity > 2
    quiet = finding.severity in (Severity.OK, Severity.NOT_VISIBLE)
    return verbosity > 1 or (verbosity == 1 and not quiet)


def _together(findings: list[Finding]) -> list[list[Finding]]:
    """Put checks together that say the same: all those that a store which is down did not answer."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for each in findings:
        same = each.severity in (Severity.NO_ANSWER, Severity.NOT_PERMITTED) and not each.remedy
        groups.setdefault((each.severity, each.seen) if same else (id(each),), []).append(each)
    return list(groups.values())


def _told(group: list[Finding], style: Style, verbosity: int) -> Iterator[str]:
    first = group[0]
    names = ", ".join(each.check for each in group)
    paint = _paint(first, style)
    yield f"  {paint(f'[{first.severity}]')} {names}: {first.seen}"
    if len(group) == 1 and (first.severity.gravity or verbosity > 2):
        yield textwrap.fill(first.why, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    if first.remedy:
        yield f"      -> {first.remedy}"


def _paint(finding: Finding, style: Style) -> Callable[[str], str]:
    paints: dict[int, Callable[[str], str]] = {2: style.ERROR, 1: style.WARNING}
    if finding.severity.gravity:
        return paints[finding.severity.gravity]
    return style.SUCCESS if finding.severity is Severity.OK else style.NOTICE
