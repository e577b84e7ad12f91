"""Pages: who answers and what that process holds, and one that uses everything."""

import os
import threading

import touchable  # noqa: F401 - a file of the deployment, for the autoreloader to look after
from django.http import HttpRequest, JsonResponse
from django.urls import include, path


def held(request: HttpRequest) -> JsonResponse:
    """Answer with the process id, the version and the rows."""
    from shop.datasets import prices  # here: importing it declares the dataset, also where the app is not installed

    snapshot = prices.snapshot()
    return JsonResponse({"pid": os.getpid(), "version": snapshot.version, "rows": dict(snapshot)})


def work(request: HttpRequest) -> JsonResponse:
    """Use locks, watches, keys and the cache; answer with what the dataset holds then."""
    from django.core.cache import cache

    from django_etcdaero import kv

    name = f"work/{request.GET['name']}"
    seen = threading.Event()
    with kv.watch(name, callback=lambda event: seen.set()), kv.lock("work", ttl=10, timeout=30):
        found = kv.get("counted")
        kv.put("counted", "1" if found is None else str(int(found.value) + 1))
        kv.put(name, "done")
        assert seen.wait(20), "the watch has seen nothing"
    cache.set(name, name)
    assert cache.get(name) == name
    return held(request)


def pid(request: HttpRequest) -> JsonResponse:
    """Answer with the process id, and use nothing."""
    return JsonResponse({"pid": os.getpid()})


urlpatterns = [
    path("", held),
    path("work", work),
    path("pid", pid),
    path("health/", include("django_etcdaero.contrib.health.urls")),
]
