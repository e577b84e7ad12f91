"""A site whose metrics are scraped: ``application`` for WSGI.

``SITE_KV`` is where its keys are; its records and its cache are files in ``SITE_DIRECTORY``.
"""

from __future__ import annotations

import os

import django
from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.urls import include, path

DIRECTORY = os.environ["SITE_DIRECTORY"]

settings.configure(
    SECRET_KEY="only for tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    BASE_DIR=DIRECTORY,
    INSTALLED_APPS=["django_etcdaero", "django_etcdaero.contrib.prometheus"],
    ETCDAERO={
        "default": {
            "KV": os.environ["SITE_KV"],
            "RECORDS": f"sqlite:///{DIRECTORY}/records.sqlite3",
            "PREFIX": "site",
            "OPTIONS": {"CALL_TIMEOUT": 1.0},
        }
    },
    CACHES={
        "default": {
            "BACKEND": "django_etcdaero.cache.EtcdAeroCache",
            "LOCATION": f"sqlite:///{DIRECTORY}/cache.sqlite3",
        }
    },
)
django.setup()

from django.core.cache import cache  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402

from django_etcdaero import dataset  # noqa: E402


@dataset
def prices() -> dict[str, int]:
    return {"A1": 1, "A2": 2}


def work(request: HttpRequest) -> JsonResponse:
    """Look into the cache once."""
    cache.get("shared")
    return JsonResponse({"pid": os.getpid(), "version": prices.snapshot().version})


def refresh(request: HttpRequest) -> JsonResponse:
    """Load the dataset, whether it is due or not."""
    cache.set("shared", 1, 600)
    return JsonResponse({"pid": os.getpid(), "outcome": prices.refresh(force=True).outcome})


urlpatterns = [
    path("work", work),
    path("refresh", refresh),
    path("metrics", include("django_etcdaero.contrib.prometheus.urls")),
]
application = WSGIHandler()
