"""A site for servers to serve, with one cache: ``application`` for WSGI, ``asynchronous`` for ASGI.

The environment says where the cache is and with which options; with ``SITE_USES_AT_IMPORT`` the process that imports
this uses the cache at once, as a server's parent does whose workers are forked later.
"""

from __future__ import annotations

import json
import os
from typing import Any

import aerospike
import django
from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.urls import path

_made: dict[int, int] = {}
"""Native clients by the process that made them."""
_make = aerospike.client


def _counted(config: Any) -> Any:
    _made[os.getpid()] = _made.get(os.getpid(), 0) + 1
    return _make(config)


aerospike.client = _counted

settings.configure(
    SECRET_KEY="only for tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"all": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["all"], "level": "WARNING"},
    },
    BASE_DIR=os.environ["SITE_DIRECTORY"],
    ETCDAERO={"default": {"KV": os.environ["SITE_KV"], "RECORDS": "mem:", "PREFIX": "site"}},
    CACHES={
        "default": {
            "BACKEND": "django_etcdaero.cache.EtcdAeroCache",
            "LOCATION": os.environ["SITE_LOCATION"],
            "TIMEOUT": 600,
            "OPTIONS": {"CALL_TIMEOUT": 60, **json.loads(os.environ.get("SITE_OPTIONS", "{}"))},
        }
    },
)
django.setup()

from django.core.cache import cache  # noqa: E402
from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402

SHARED = {"by": "all", "text": "shared" * 100}


def work(request: HttpRequest) -> JsonResponse:
    """Use the cache in some ways; tell what was not as it should be."""
    name = request.GET["name"]
    mine, wrong = {"name": name, "text": name * 100}, []

    def check(what: str, found: Any, right: Any) -> None:
        if found != right:
            wrong.append(f"{name}: {what}: {found!r:.200}")

    cache.get_or_set("shared", SHARED, 600)
    cache.set(name, mine)
    check("get", cache.get(name), mine)
    check("shared", cache.get("shared"), SHARED)
    check("get_many", cache.get_many([name, "shared"]), {name: mine, "shared": SHARED})
    check("get_or_set", cache.get_or_set("loaded", _load, 600), 42)
    check("delete", cache.delete(name), True)
    check("deleted", cache.get(name), None)
    cache.add("count", 0, None)
    cache.incr("count")
    return JsonResponse({"pid": os.getpid(), "wrong": wrong})


async def awork(request: HttpRequest) -> JsonResponse:
    """The same with the awaitable methods."""
    name = request.GET["name"]
    mine, wrong = {"name": name, "text": name * 100}, []

    async def load() -> int:
        await cache.aadd("loads", 0, None)
        await cache.aincr("loads")
        return 42

    def check(what: str, found: Any, right: Any) -> None:
        if found != right:
            wrong.append(f"{name}: {what}: {found!r:.200}")

    await cache.aget_or_set("shared", SHARED, 600)
    await cache.aset(name, mine)
    check("aget", await cache.aget(name), mine)
    check("shared", await cache.aget("shared"), SHARED)
    check("aget_many", await cache.aget_many([name, "shared"]), {name: mine, "shared": SHARED})
    check("aget_or_set", await cache.aget_or_set("loaded", load, 600), 42)
    check("adelete", await cache.adelete(name), True)
    check("deleted", await cache.aget(name), None)
    await cache.aadd("count", 0, None)
    await cache.aincr("count")
    return JsonResponse({"pid": os.getpid(), "wrong": wrong})


def _load() -> int:
    cache.add("loads", 0, None)
    cache.incr("loads")
    return 42


def told(request: HttpRequest) -> JsonResponse:
    """Tell about the process, without using the cache."""
    return JsonResponse({"pid": os.getpid(), "made": _made.get(os.getpid(), 0)})


def get(request: HttpRequest) -> JsonResponse:
    """Look one entry up."""
    return JsonResponse({"found": cache.get(request.GET["key"])})


async def atold(request: HttpRequest) -> JsonResponse:
    """As ``told``, in the event loop."""
    return told(request)


async def aget(request: HttpRequest) -> JsonResponse:
    """Look one entry up with the awaitable method."""
    return JsonResponse({"found": await cache.aget(request.GET["key"])})


urlpatterns = [path(view.__name__, view) for view in (work, awork, told, atold, get, aget)]
application = WSGIHandler()
asynchronous = ASGIHandler()

if os.environ.get("SITE_USES_AT_IMPORT") == "1":
    cache.set("shared", SHARED)
    assert cache.get("shared") == SHARED
