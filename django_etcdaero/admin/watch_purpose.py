"""What watches are for, in words; those of the project and those of the package itself are told apart."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import SimpleListFilter
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero.datasets.layout import ANNOUNCEMENTS, CACHES, DATASETS, LOADS
from django_etcdaero.datasets.state.watching import Watched
from django_etcdaero.keyvalue.client.open_watches import Use

OWN = {
    ANNOUNCEMENTS: _("versions of the datasets"),
    LOADS: _("loads of the datasets"),
    DATASETS: _("requests for loads"),
    CACHES: _("notices of caches"),
}
"""What the package's own watches are for, by how their keys begin."""

USES: dict[str, Any] = {
    Use.WATCH: _("follows changes"),
    Use.OBJECTS: _("follows objects"),
    Use.MIRROR: _("mirror"),
    Use.OBSERVER: _("observes the election %(name)s"),
    Use.CHANGE: _("waits for a change"),
    Use.LOCK: _("waits for the lock %(name)s"),
    Use.SEMAPHORE: _("waits for the semaphore %(name)s"),
    Use.READ_LOCK: _("waits to read under the lock %(name)s"),
    Use.WRITE_LOCK: _("waits to write under the lock %(name)s"),
    Use.ELECTION: _("stands for election in %(name)s"),
    Use.PLACE: _("guards its place in a queue"),
    Use.KEY: _("guards a key of its own"),
}
"""What watches are for, by their use."""


def purpose(watched: Watched) -> str:
    """Say what a watch is for."""
    if watched.own and watched.use == Use.WATCH:
        begins = watched.keys.removeprefix("[")
        return str(next((words for begin, words in OWN.items() if begins.startswith(begin)), gettext("other")))
    words = USES.get(watched.use)  # newer code may have others
    return watched.use if words is None else str(words) % {"name": watched.name}


def whose(watched: Watched) -> str:
    """Say whose a watch is, and what for."""
    told = {"purpose": purpose(watched)}
    return gettext("package: %(purpose)s") % told if watched.own else gettext("project: %(purpose)s") % told


class OwnFilter(SimpleListFilter):
    """Tells the watches of the project from those of the package itself."""

    title = _("whose")
    parameter_name = "own"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the two kinds."""
        return [("False", _("of the project")), ("True", _("of the package itself"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Return those of the kind that was chosen."""
        return queryset.filter(own=self.value()) if self.value() in ("False", "True") else queryset
