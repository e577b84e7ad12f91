"""A report of the doctor in words: a line for each place, and under it what is wrong and what mends it."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from django.core.management.color import Style

from django_etcdaero.doctor import Finding, Report, Severity, Swept
from django_etcdaero.doctor.words import some

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
    return ", ".join(f"{counts[each]} {_word(each, counts[each])}" for each in order) or "nothing to look at"


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


def _word(severity: Severity, count: int) -> str:
    plural = count > 1 and severity in (Severity.ERROR, Severity.WARNING)
    return f"{severity}s" if plural else str(severity)


def _is_shown(finding: Finding, verbosity: int) -> bool:
    if finding.severity.gravity:
        return True
    if finding.severity is Severity.NOT_APPLICABLE:
        return verbosity > 2
    quiet = finding.severity in (Severity.OK, Severity.NOT_VISIBLE)
    return verbosity > 1 or (verbosity == 1 and not quiet)


def _together(findings: list[Finding]) -> list[list[Finding]]:
    """Put checks together that a store did not answer, or refused to answer, all for one and the same reason."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for each in findings:
        if each.severity is Severity.NO_ANSWER:
            key: tuple[object, ...] = (each.severity,)
        elif each.severity is Severity.NOT_PERMITTED and not each.remedy:
            key = (each.severity, each.seen)
        else:
            key = (id(each),)
        groups.setdefault(key, []).append(each)
    return list(groups.values())


def _told(group: list[Finding], style: Style, verbosity: int) -> Iterator[str]:
    first, names = group[0], [each.check for each in group]
    named = some(names) if verbosity < 2 else ", ".join(names)
    yield f"  {_paint(first, style)(f'[{first.severity}]')} {named}: {first.seen}"
    if len(group) > 1:
        return
    if first.severity.gravity or verbosity > 2:
        yield textwrap.fill(first.why, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    if first.remedy:
        yield f"      -> {first.remedy}"


def _paint(finding: Finding, style: Style) -> Callable[[str], str]:
    paints: dict[int, Callable[[str], str]] = {2: style.ERROR, 1: style.WARNING}
    if finding.severity.gravity:
        return paints[finding.severity.gravity]
    return style.SUCCESS if finding.severity is Severity.OK else style.NOTICE
