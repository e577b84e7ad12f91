"""Watches that processes have open, and a page that follows what happens to keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero import conf
from django_etcdaero.datasets.state.presence import merged, processes
from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.inspection.aliases import ask_aliases
from django_etcdaero.inspection.events import OVERLAP, Gap, Happened, Reason, happened
from django_etcdaero.inspection.key_text import key_bytes, key_text
from django_etcdaero.inspection.localized import count, moment
from django_etcdaero.inspection.problem import Problem
from django_etcdaero.keyvalue.values import Event, EventType

from ..models import Watch
from .deadline import DEADLINE
from .inspected import Found, InspectedAdmin, Page
from .leased import ask_alias, place_of
from .mistakes import brief, number_of
from .processes import MOST_NAMED, pk_of
from .watch_purpose import OwnFilter, purpose, whose

LONGEST_VALUE = 200
"""Characters of a value that are shown."""
MOST_ROWS = 500
"""Rows that the page keeps."""
LONGEST = 1.0
"""Seconds that the page waits for events that must still come out of a long history; ..."""
PATIENCE = 6.0
"""... and that an answer to its script does."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be followed, as the address of a page says it."""

    alias: str
    prefix: str
    since: int
    """A revision; 0: from now on."""
    seen: int
    """Up to which revision events have been seen."""
    mistakes: tuple[str, ...] = ()
    """What could not be understood; nothing is followed then."""


class WatchAdmin(InspectedAdmin):
    """The watches of all processes."""

    list_display = ("keys", "alias", "what_for", "process", "since", "revision", "events")
    list_filter = (OwnFilter,)
    show_facets = ShowFacets.NEVER
    search_fields = ("label", "who", "what_for")
    thing_template = "admin/django_etcdaero/watch.html"
    change_list_template = "admin/django_etcdaero/watch_list.html"
    pages = (
        Page(name="follow", method="follow", permission="follow_events", of_thing=False),
        Page(name="events", method="events_since", permission="follow_events", of_thing=False),
    )

    class Media:
        css = {"all": ["django_etcdaero/admin.css", "django_etcdaero/watches.css"]}
        js = ("django_etcdaero/follow.js",)

    def read(self, request: HttpRequest) -> Found:
        answers = ask_aliases(lambda _alias, stores: merged(processes(stores.kv)), timeout=DEADLINE)
        things, left_out = [], []
        for alias, found in answers.by_alias.items():
            for process in found:
                if process.more_watches:
                    left_out.append((f"{process.host}/{process.pid}", process.more_watches))
                for each in process.watches:
                    who = f"{process.host}/{process.pid}"
                    thing: Any = Watch(pk=f"{alias}:{who}/{each.since:.6f}/{each.keys}")
                    thing.value, thing.label, thing.who, thing.what_for = each, each.keys, who, whose(each)
                    thing.process = pk_of(process)
                    things.append(thing)
        request.etcdaero_left_out = left_out  # type: ignore[attr-defined] # told above the list
        return Found(things=things, problems=answers.problems)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data is not None:
            follow = self.address("follow") if self.permits(request, "follow_events") else None
            left_out = getattr(request, "etcdaero_left_out", [])
            response.context_data.update(
                follow=follow,
                aliases=conf.aliases(),
                left_out=left_out[:MOST_NAMED],
                more_left_out=max(0, len(left_out) - MOST_NAMED),
            )
        return response

    def thing_context(self, request: HttpRequest, thing: Any) -> dict[str, Any]:
        alias = place_of(thing.pk)[0]
        follow = None
        if self.permits(request, "follow_events"):
            follow = f"{self.address('follow')}?{urlencode({'alias': alias, 'prefix': thing.label.rstrip('*')})}"
        return {"alias": alias, "follow": follow, "purpose": purpose(thing.value)}

    def permits(self, request: HttpRequest, codename: str) -> bool:
        """Tell whether the visitor has a permission; events show keys, so who follows them has to be allowed to."""
        sees_keys = codename != "follow_events" or request.user.has_perm(f"{self.opts.app_label}.view_key")
        return sees_keys and super().permits(request, codename)

    # following -------------------------------------------------------------------------------------------------------

    def follow(self, request: HttpRequest) -> HttpResponse:
        """Show what has happened since a revision; scripts then ask for more, without them a link does."""
        asked, found, problems = self._ask(request, longest=LONGEST)
        here: dict[str, str | int] = {"alias": asked.alias, "prefix": asked.prefix}
        since = asked.since or (0 if found is None else found.revision)
        seen = 0 if found is None else found.seen
        reveals = self._reveals(request)
        rows = [] if found is None else [row(each, reveals=reveals) for each in found.events]
        return self.show(
            request,
            "admin/django_etcdaero/follow.html",
            title=_("Follow events"),
            problems=problems,
            mistakes=asked.mistakes,
            asked=asked,
            since=since,
            seen=seen,
            rows=rows[::-1],
            gap=None if found is None or found.gap is None else gap_text(found.gap),
            more=found is not None and found.more,
            reveals=reveals,
            aliases=conf.aliases(),
            reload=f"?{urlencode({**here, 'since': since})}",
            later=f"?{urlencode({**here, 'since': max(seen, since)})}",
            events_address=self.address("events"),
            most_rows=MOST_ROWS,
            overlap=OVERLAP,
        )

    def events_since(self, request: HttpRequest) -> JsonResponse:
        """Answer the script."""
        asked, found, problems = self._ask(request, longest=PATIENCE)
        told: dict[str, Any] = {"problems": [*asked.mistakes, *(str(each) for each in problems)]}
        if asked.mistakes:
            return JsonResponse(told, status=400)
        if found is not None:
            reveals = self._reveals(request)
            told |= {
                "rows": [row(each, reveals=reveals) for each in found.events],
                "gap": None if found.gap is None else gap_text(found.gap),
                "gap_first": found.gap is not None and found.gap.reason is not Reason.TOO_MANY,
                "revision": found.revision,
                "seen": found.seen,
                "more": found.more,
            }
        return JsonResponse(told, status=503 if found is None else 200)

    def _ask(self, request: HttpRequest, *, longest: float) -> tuple[Asked, Happened | None, list[Problem]]:
        given, mistakes, prefix = request.GET, list[str](), b""
        alias, text = given.get("alias", conf.DEFAULT_ALIAS), given.get("prefix", "")
        since = number_of(given.get("since", ""), _("From revision"), mistakes)
        seen = number_of(given.get("seen", ""), _("Seen"), mistakes)
        try:
            prefix = key_bytes(text)
        except InvalidRequest as error:
            mistakes.append(f"{gettext('Keys that begin with')}: {error}")
        if alias not in conf.aliases():
            mistakes.append(gettext("There is no alias “%s”.") % brief(alias))
        asked = Asked(alias, text, since, seen, tuple(mistakes))
        if mistakes:
            return asked, None, []
        answers = ask_alias(
            asked.alias,
            lambda kv: happened(kv, prefix, since=asked.since, seen=asked.seen, longest=longest),
            timeout=longest + DEADLINE,
        )
        return asked, answers.by_alias.get(asked.alias), answers.problems

    def _reveals(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.reveal_value")

    # the list --------------------------------------------------------------------------------------------------------

    @admin.display(description=_("keys"), ordering="label")
    def keys(self, thing: Watch) -> str:
        """Return which keys it is on."""
        return thing.label

    @admin.display(description=_("alias"), ordering="pk")
    def alias(self, thing: Watch) -> str:
        """Return the alias."""
        return place_of(thing.pk)[0]

    @admin.display(description=_("what for"), ordering="what_for")
    def what_for(self, thing: Any) -> str:
        """Return whether it is one of the package itself, and what for."""
        told: str = thing.what_for
        return told

    @admin.display(description=_("process"), ordering="who")
    def process(self, thing: Any) -> str:
        """Return the process that has it."""
        who: str = thing.who
        return who

    @admin.display(description=_("since"), ordering="since")
    def since(self, thing: Watch) -> str:
        """Return since when."""
        return moment(thing.value.since)

    @admin.display(description=_("revision"), ordering="revision")
    def revision(self, thing: Watch) -> str:
        """Return up to where it had come."""
        return str(thing.value.revision or "-")

    @admin.display(description=_("events"), ordering="events")
    def events(self, thing: Watch) -> str:
        """Return how many had come in."""
        return count(thing.value.events)


def row(event: Event, *, reveals: bool) -> dict[str, Any]:
    """Return an event as a row of the page; its value only to who may see values."""
    item = event.kv
    if event.type is EventType.DELETE:
        kind, word = "deleted", gettext("deleted")
    elif event.created:
        kind, word = "created", gettext("created")
    else:
        kind, word = "changed", gettext("changed")
    return {
        "revision": item.mod_revision,
        "kind": kind,
        "word": word,
        "key": key_text(item.key),
        "version": item.version or "",
        "lease": f"{item.lease:x}" if item.lease else "",
        "size": "" if kind == "deleted" else len(item.value),
        "value": shown(item.value) if reveals and kind != "deleted" else "",
    }


def shown(value: bytes) -> str:
    """Return the beginning of a value as text, or in hexadecimal digits if it is none."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value[:LONGEST_VALUE].hex(" ")
    text = "".join(each if each.isprintable() or each in "\n\t" else "\N{REPLACEMENT CHARACTER}" for each in text)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def gap_text(gap: Gap) -> str:
    """Say in words which events are missing, and why."""
    said = {"after": gap.after, "until": gap.until}
    match gap.reason:
        case Reason.COMPACTED:
            text = gettext("Events after revision %(after)d up to %(until)d are missing: their history was compacted.")
        case Reason.TOO_FAR:
            text = gettext(
                "Events after revision %(after)d up to %(until)d are not shown: this page does not go back so far."
            )
        case Reason.RESET:
            text = gettext(
                "Events are missing: the store is at revision %(until)d and was at %(after)d before. It was wiped,"
                " replaced or restored."
            )
        case Reason.TOO_MANY:
            text = gettext("Not all events of revision %(until)d are shown: one transaction made too many.")
    return text % said
