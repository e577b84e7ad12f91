"""What could not be read for a page."""

from __future__ import annotations

from django.http import HttpRequest

from django_etcdaero.inspection.problem import Problem


def keep_problems(request: HttpRequest, problems: list[Problem]) -> None:
    """Keep what could not be read for a page, to be shown above what could."""
    vars(request)["etcdaero_problems"] = problems


def problems_of(request: HttpRequest) -> list[Problem]:
    """Return what could not be read for a page so far."""
    found: list[Problem] = vars(request).get("etcdaero_problems", [])
    return found
