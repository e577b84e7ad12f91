"""Watches of the project and those of the package itself, told apart."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import SimpleListFilter
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero.datasets.layout import ANNOUNCEMENTS, CACHES, DATASETS, LOADS
from django_etcdaero.datasets.state.watching import Watched

OWN = {
    ANNOUNCEMENTS: _("versions of the datasets"),
    LOADS: _("loads of the datasets"),
    DATASETS: _("requests for loads"),
    CACHES: _("notices of caches"),
}
"""What the package's own watches are for, by how their keys begin."""


def purpose(watched: Watched) -> str:
    """Say what a watch of the package itself is for; empty: it is one of the project."""
    if not watched.own:
        return ""
    begins = watched.keys.removeprefix("[")
    return str(next((words for begin, words in OWN.items() if begins.startswith(begin)), gettext("other")))


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
