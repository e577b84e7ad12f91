"""The answer while the dataset has not been loaded: 503, when to try again, and what to run."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from django_etcdaero.exceptions import DatasetNotReady, DatasetStale

REFRESH_COMMAND = "python manage.py etcdaero_refresh"
RETRY_AFTER = 3
"""Seconds."""


class DatasetNotReadyMiddleware:
    """Turns ``DatasetNotReady`` and ``DatasetStale`` of any view into an answer that clients understand."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on."""
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer with 503; leave every other exception alone."""
        if not isinstance(exception, DatasetNotReady | DatasetStale):
            return None
        response: HttpResponse
        if request.path.startswith("/api/"):
            response = JsonResponse({"error": str(exception), "run": REFRESH_COMMAND}, status=503)
        else:
            context = {"reason": str(exception), "command": REFRESH_COMMAND}
            response = render(request, "cities/not_ready.html", context, status=503)
        response.headers["Retry-After"] = str(RETRY_AFTER)
        response.headers["Cache-Control"] = "no-store"
        return response
