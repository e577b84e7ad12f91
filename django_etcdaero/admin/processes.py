"""Processes that read datasets or have watches open: what each is, what it holds, what it watches."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero import datasets
from django_etcdaero.datasets.state.presence import Process as FoundProcess
from django_etcdaero.datasets.state.status import State
from django_etcdaero.inspection.localized import count, moment, size
from django_etcdaero.inspection.processes import FoundProcesses, Headline, ask_processes, identity

from ..models import Process
from .deadline import DEADLINE
from .inspected import Found, InspectedAdmin
from .watch_purpose import whose

MOST_NAMED = 20
"""Processes that a headline names."""


def pk_of(process: FoundProcess) -> str:
    """Return the primary key of a process."""
    return f"{process.host}/{process.pid}/{process.started:.3f}"


class ProcessAdmin(InspectedAdmin):
    """Who reads, and what."""

    list_display = ("identity", "program", "started", "software", "holds", "rows", "bytes_held", "odd")
    search_fields = ("host", "pid", "program", "software_told", "odd_names", "kind")
    thing_template = "admin/django_etcdaero/process.html"
    change_list_template = "admin/django_etcdaero/process_list.html"

    class Media:
        css = {"all": ["django_etcdaero/admin.css", "django_etcdaero/processes.css"]}

    def read(self, request: HttpRequest) -> Found:
        found = ask_processes(DEADLINE)
        request.etcdaero_processes = found  # type: ignore[attr-defined] # the headlines are shown above the list
        things = []
        for each in found.processes:
            thing: Any = Process(pk=pk_of(each))
            thing.value = each
            thing.label = f"{each.host}/{each.pid}"
            thing.odd = found.differing.get(identity(each), ())
            thing.odd_names = " ".join(thing.odd)
            thing.software_told = " ".join(f"{name} {version}" for name, version in each.software.items())
            thing.total_rows = sum(each.rows.values())
            thing.total_bytes = sum(each.stored_bytes.values())
            thing.unwell = [name for name, state in each.states.items() if state != State.VALID]
            things.append(thing)
        return Found(things=things, problems=found.problems)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        found: FoundProcesses | None = getattr(request, "etcdaero_processes", None)
        if isinstance(response, TemplateResponse) and response.context_data is not None and found is not None:
            response.context_data["headlines"] = [self._headline(each) for each in found.headlines]
        return response

    def _headline(self, line: Headline) -> dict[str, Any]:
        named = [
            {
                "who": f"{each.host}/{each.pid}",
                "address": self.address_of(Process(pk=pk_of(each))),
                "version": each.versions.get(line.dataset),
            }
            for each in line.others[:MOST_NAMED]
        ]
        return {"line": line, "named": named, "more": len(line.others) - len(named)}

    def thing_context(self, request: HttpRequest, thing: Any) -> dict[str, Any]:
        found: FoundProcesses = request.etcdaero_processes  # type: ignore[attr-defined]
        announced = {(line.dataset, line.schema): line.version for line in found.headlines}
        each: FoundProcess = thing.value
        held = [
            {
                "name": name,
                "declared": name in datasets,
                "version": version,
                "announced": announced.get((name, each.schemas.get(name, 0))),
                "state": each.states.get(name, ""),
                "bad": each.states.get(name) != State.VALID,
                "rows": each.rows.get(name),
                "bytes": each.stored_bytes.get(name),
                "stuck": each.stuck.get(name),
            }
            for name, version in sorted(each.versions.items())
        ]
        watches = [(watch, whose(watch)) for watch in each.watches]
        return {"datasets": held, "kind": KINDS.get(each.kind, each.kind), "watches": watches}

    @admin.display(description=_("process"), ordering="host")
    def identity(self, thing: Process) -> str:
        """Return host and pid."""
        return thing.label

    @admin.display(description=_("program"), ordering="program", empty_value="-")
    def program(self, thing: Process) -> str | None:
        """Return what it runs."""
        return thing.value.program or None

    @admin.display(description=_("started"), ordering="started")
    def started(self, thing: Process) -> Any:
        """Return when its reader started."""
        return moment(thing.value.started)

    @admin.display(description=_("versions"), ordering="software_told", empty_value="-")
    def software(self, thing: Process) -> str | None:
        """Return the versions of what it runs on."""
        return ", ".join(f"{name} {version}" for name, version in thing.value.software.items()) or None

    @admin.display(description=_("datasets"))
    def holds(self, thing: Any) -> str:
        """Return what it holds, and what is not well."""
        count = len(thing.value.versions)
        told = ngettext("%(count)d dataset", "%(count)d datasets", count) % {"count": count}
        if count == 1:
            ((name, version),) = thing.value.versions.items()
            told = f"{name} {'-' if version is None else version}"
        if not thing.unwell:
            return told
        names = ", ".join(f"{name} {thing.value.states[name]}" for name in thing.unwell[:3])
        rest = len(thing.unwell) - 3
        more = f" {gettext('and %(count)d more') % {'count': rest}}" if rest > 0 else ""
        return format_html('{} <span class="bad">{}{}</span>', told, names, more)

    @admin.display(description=_("rows"), ordering="total_rows")
    def rows(self, thing: Any) -> str:
        """Return how many rows it holds."""
        return count(thing.total_rows) if thing.value.sizes_known else gettext("not known")

    @admin.display(description=_("stored"), ordering="total_bytes")
    def bytes_held(self, thing: Any) -> str:
        """Return how many stored bytes it holds."""
        return size(thing.total_bytes) if thing.value.sizes_known else gettext("not known")

    @admin.display(description=_("settings"), ordering="odd_names")
    def odd(self, thing: Any) -> str:
        """Return which settings differ from those of the others."""
        if not thing.odd:
            return gettext("as others") if thing.value.settings else "-"
        return format_html('<span class="bad">{}</span>', gettext("differ: %s") % ", ".join(thing.odd))


KINDS = {
    "server": _("server"),
    "worker": _("worker"),
    "command": _("command"),
    "tests": _("tests"),
    "program": _("program"),
}
