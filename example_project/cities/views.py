"""The search page. It works without JavaScript; with it, results follow each key stroke."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from .lookup import MAX_QUERY, BadParameter, city_json, find


@never_cache
@require_safe
def search_page(request: HttpRequest) -> HttpResponse:
    """``/?q=ber&country=DE``: the page with the cities found."""
    problem = ""
    try:
        answer = find(request.GET.dict())
    except BadParameter as error:
        problem = str(error)
        answer = find({})
    context = {
        "answer": answer,
        "cities": [] if problem else [city_json(match) for match in answer.matches],
        "problem": problem,
        "query": request.GET.get("q", "")[:MAX_QUERY],
        "age": _age(answer.served.age),
        "max_query": MAX_QUERY,
        "served": answer.served,
        "served_json": answer.served.json(),
    }
    return render(request, "cities/search.html", context, status=400 if problem else 200)


def _age(seconds: float) -> str:
    """Return a duration in the largest fitting unit, as the script of the page writes it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
