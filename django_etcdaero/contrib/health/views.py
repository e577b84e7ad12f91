"""The views. GET and HEAD only, never cached, without a transaction, for everybody; status 200 or 503, and JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any

from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from django_etcdaero import health_settings
from django_etcdaero.runtime import runtime

from .fitness import Fitness, fitness

if TYPE_CHECKING:
    from django_etcdaero.doctor import Finding

View = Callable[[HttpRequest], HttpResponse]


def _probe(view: View) -> View:
    """Make a view one that probes may ask at any rate, whatever the project's middleware does to other views."""
    wrapped = login_not_required(transaction.non_atomic_requests(never_cache(require_safe(view))))
    return wraps(view)(wrapped)


@_probe
def live(request: HttpRequest) -> HttpResponse:
    """200: the process answers, and its reader comes round. 503: the reader has been stuck for ``STUCK_AFTER``."""
    late = runtime.reader_late()
    stuck = late is not None and late > health_settings.read().STUCK_AFTER
    return _answer(not stuck, {"reader": None if late is None else {"late": round(max(0.0, late), 1)}})


@_probe
def ready(request: HttpRequest) -> HttpResponse:
    """200: every required dataset can be read. 503: at least one cannot. ``?deep=1`` asks the stores, too."""
    return _datasets(request)


@_probe
def startup(request: HttpRequest) -> HttpResponse:
    """As :func:`ready`, under a name of its own: for a probe with more patience."""
    return _datasets(request)


def _datasets(request: HttpRequest) -> HttpResponse:
    found = fitness()
    fit = all(each.fit or not each.required for each in found)
    body: dict[str, Any] = {"datasets": [_told(each) for each in found]}
    if request.GET.get("deep") not in (None, "", "0"):
        if not _may_go_deep(request):
            return JsonResponse({"status": "forbidden"}, status=403)
        findings = _stores()
        fit = fit and not any(each.severity.is_failure for each in findings)
        body["stores"] = [
            {"check": each.check, "place": each.place, "severity": str(each.severity), "seen": each.seen}
            for each in findings
        ]
    return _answer(fit, body)


def _answer(fit: bool, body: dict[str, Any]) -> HttpResponse:
    return JsonResponse({"status": "fit" if fit else "unfit", **body}, status=200 if fit else 503)


def _told(each: Fitness) -> dict[str, Any]:
    return {
        "name": each.name,
        "required": each.required,
        "fit": each.fit,
        "state": str(each.status.state),
        "version": each.status.version,
        "age": None if each.status.age is None else round(each.status.age, 1),
        "reason": each.reason,
    }


def _may_go_deep(request: HttpRequest) -> bool:
    who = health_settings.read().DEEP
    user = getattr(request, "user", None) if who == "staff" else None
    return who == "all" or bool(user is not None and user.is_active and user.is_staff)


def _stores() -> Sequence[Finding]:
    from django_etcdaero.doctor import examine  # here: a process that is only asked whether it is fit needs none of it

    return examine(only=["kv.read", "records.read"], timeout=health_settings.read().DEEP_TIMEOUT).findings
