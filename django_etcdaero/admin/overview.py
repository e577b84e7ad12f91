"""The first page: servers, processes, datasets, and what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero import conf
from django_etcdaero.inspection.cluster_status import ask
from django_etcdaero.inspection.conditions import Condition
from django_etcdaero.inspection.problem import Problem, problem_of
from django_etcdaero.inspection.servers import ask_servers
from django_etcdaero.inspection.together import together

from .dataset_words import said
from .datasets import Line, lines
from .deadline import DEADLINE, begin
from .inspected import Found, InspectedAdmin

if TYPE_CHECKING:
    from django_etcdaero.doctor import Finding, Report

THOROUGH = (
    *("etcd.divergence", "datasets.whole", "datasets.leftover", "locks.held"),
    *("project.permissions", "project.static"),
)
"""Checks that are left to the command, because they read much: all that an etcd holds, all keys of a prefix, a record
for each block; and those of what the pages need, which are there. The page is looked at often."""
MOST_FINDINGS = 50
"""What the doctor finds, of which so much is shown."""
SEVERITIES = {"warning": _("warning"), "error": _("error"), "no answer": _("no answer")}
"""What a finding that is shown is called."""
MOST_LINES = 12
"""Datasets that are shown: those that somebody should look at come first."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A dataset in a few words."""

    line: Line
    said: str
    address: str


class OverviewAdmin(InspectedAdmin):
    """One page, at the address of the list."""

    class Media:
        css = {"all": ["django_etcdaero/datasets.css"]}

    def get_urls(self) -> list[URLPattern]:
        """Return one address: there are no things to be listed, and nothing is changed."""
        return [path("", self.admin_site.admin_view(self.changelist_view), name=self._address_name("changelist"))]

    def read(self, request: HttpRequest) -> Found:
        return Found(things=[])

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        from django_etcdaero.doctor import examine  # here: every process that has the admin imports this module

        begin(request)
        limit = 0.95 * DEADLINE
        questions: dict[str, Callable[[], Any]] = {
            "status": lambda: ask(limit),
            "servers": lambda: ask_servers(timeout=limit),
            "doctor": lambda: examine(skip=THOROUGH, timeout=limit),
        }
        answers = together(questions, timeout=DEADLINE)
        told = {name: None if isinstance(answer, Exception) else answer for name, answer in answers.items()}
        status, servers = told["status"], told["servers"] or []
        listed = [] if status is None else lines(status)
        problems = [*(status.problems if status else []), *(p for each in servers for p in each.problems)]
        aliases = ", ".join(conf.aliases())
        silent = [answers[name] for name in ("status", "servers") if isinstance(answers[name], Exception)]
        problems += [problem_of(each, alias=aliases) for each in silent]
        return self.show(
            request,
            "admin/django_etcdaero/overview.html",
            title=capfirst(self.opts.verbose_name_plural),
            problems=_problems(problems),
            datasets_known=status is not None,
            servers=servers,
            processes=_processes(status),
            counts=_counts(listed),
            datasets=self._shown(request, listed),
            datasets_left=max(0, len(listed) - MOST_LINES),
            total=len(listed),
            doctor=told["doctor"],
            findings=_findings(told["doctor"])[:MOST_FINDINGS],
            addresses=self._addresses(request),
            **(extra_context or {}),
        )

    def _shown(self, request: HttpRequest, listed: list[Line]) -> list[Shown]:
        first = sorted(listed, key=lambda each: (-each.gravity, each.name))[:MOST_LINES]
        return [
            Shown(each, said(each.conditions), self._address(request, "dataset", "change", each.name)) for each in first
        ]

    def _addresses(self, request: HttpRequest) -> dict[str, str]:
        """Return the addresses of the other sections that the visitor may see."""
        return {name: self._address(request, name, "changelist") for name in ("dataset", "process", "lock", "cache")}

    def _address(self, request: HttpRequest, name: str, view: str, *args: str) -> str:
        """Return an address; empty if the visitor may not see it, or the site does not have the section."""
        if not request.user.has_perm(f"{self.opts.app_label}.view_{name}"):
            return ""
        try:
            return reverse(f"admin:{self.opts.app_label}_{name}_{view}", args=args, current_app=self.admin_site.name)
        except NoReverseMatch:
            return ""


def _findings(report: Report | None) -> list[dict[str, Any]]:
    """Return what is wrong; checks that got no answer for the same reason are one line, else they hide the rest."""
    alike: dict[tuple[str, ...], list[Finding]] = {}
    for each in () if report is None else report.problems:
        silent = str(each.severity) == "no answer"
        alike.setdefault((each.place, each.seen, "" if silent else each.check), []).append(each)
    return [
        {
            "checks": [each.check for each in found],
            "gravity": found[0].severity.gravity,
            "severity": SEVERITIES.get(str(found[0].severity), found[0].severity),
            "place": found[0].place,
            "seen": found[0].seen,
            "why": gettext(found[0].why) if len(found) == 1 else "",
            "remedy": found[0].remedy,
        }
        for found in alike.values()
    ]


def _problems(problems: list[Problem]) -> list[Problem]:
    """Return each once: several questions to a store fail in the same way."""
    return list({(each.alias, each.store, each.type, each.dataset): each for each in problems}.values())


def _processes(status: Any) -> dict[str, Any] | None:
    """Return how many there are, on how many hosts, and how many of their datasets are not valid."""
    if status is None or any(each.processes is None for each in status.aliases):
        return None
    found = status.processes
    states = Counter(state for each in found for state in each.states.values())
    refreshers = {each.who for alias in status.aliases for each in alias.refreshers or ()}
    return {
        "count": len(found),
        "hosts": len({each.host for each in found}),
        "states": sorted(states.items()),
        "refreshers": sorted(refreshers)[:10],
        "refreshers_count": len(refreshers),
    }


def _counts(listed: list[Line]) -> list[tuple[str, int]]:
    """Return how many datasets are in which condition."""
    found: Counter[Condition | None] = Counter()
    for each in listed:
        found.update([None] if each.conditions is None else each.conditions)
    order = [None, *Condition]
    return [(said(None if each is None else (each,)), found[each]) for each in order if found[each]]
