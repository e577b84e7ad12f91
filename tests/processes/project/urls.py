"""One page: who answers, and what he holds."""

import os

import touchable  # noqa: F401 - a file of the deployment, for the autoreloader to look after
from django.http import HttpRequest, JsonResponse
from django.urls import path


def held(request: HttpRequest) -> JsonResponse:
    """Answer with the process id, the version and the rows."""
    from shop.datasets import prices  # here: importing it declares the dataset, also where the app is not installed

    snapshot = prices.snapshot()
    return JsonResponse({"pid": os.getpid(), "version": snapshot.version, "rows": dict(snapshot)})


urlpatterns = [path("", held)]
