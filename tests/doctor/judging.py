"""Letting a check judge facts that a test has made up."""

from __future__ import annotations

from typing import Any

from django_etcdaero.doctor.checking import Check, Facts, Probe
from django_etcdaero.doctor.report import Finding, Severity


def judge(check: Check, subject: Any, brought: dict[Probe[Any], Any]) -> list[Finding]:
    """Return what a check finds."""
    return list(check.findings(Facts(subject, brought)))


def severities(check: Check, subject: Any, brought: dict[Probe[Any], Any]) -> list[Severity]:
    """Return how it ends; each problem is explained, and something is said to do about it."""
    found = judge(check, subject, brought)
    for each in found:
        assert each.check == check.id
        assert each.seen
        assert each.why
        assert "\n" not in each.seen
        if each.severity.gravity and each.severity is not Severity.NO_ANSWER:
            assert each.remedy or each.seen.startswith("the check failed"), each
    return [each.severity for each in found]
