"""A site with dj-control-room and dj-cache-panel, visited once: prints what a member of staff sees, as JSON."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.contrib import admin
from django.urls import include, path

DIRECTORY = Path(sys.argv[1])
BACKEND = "django_etcdaero.cache.EtcdAeroCache"

settings.configure(
    SECRET_KEY="only for tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    BASE_DIR=DIRECTORY,
    STATIC_URL="/static/",
    USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    ETCDAERO={"default": {"KV": "mem:", "RECORDS": "mem:", "PREFIX": "tests"}},
    CACHES={"default": {"BACKEND": BACKEND, "LOCATION": "sqlite:///cache.sqlite3", "KEY_PREFIX": "shop"}},
    DJ_CACHE_PANEL_SETTINGS={
        "BACKEND_PANEL_EXTENSIONS": {BACKEND: "django_etcdaero.contrib.cache_panel.EtcdAeroCachePanel"},
    },
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.staticfiles",
        "django_etcdaero",
        "django_etcdaero.contrib.control_room",
        "dj_control_room_base",
        "dj_cache_panel",
        "dj_control_room",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ],
            },
        },
    ],
)
django.setup()

urlpatterns = [
    path("admin/dj-control-room-base/", include("dj_control_room_base.urls")),
    path("admin/dj-cache-panel/", include("dj_cache_panel.urls")),
    path("admin/dj-control-room/", include("dj_control_room.urls")),
    path("admin/etcdaero/", include("django_etcdaero.contrib.control_room.urls")),
    path("admin/", admin.site.urls),
]


def visit() -> dict[str, Any]:
    from django.contrib.auth.models import User
    from django.core.cache import cache
    from django.core.management import call_command
    from django.test import Client

    call_command("migrate", verbosity=0)
    call_command("check")
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    cache.set("book", {"title": "Emma"})
    cache.set("film", {"title": "Clueless"})
    before, unpickled = cache.stats(), []
    real = pickle.loads
    pickle.loads = lambda data: unpickled.append(data) or real(data)  # type: ignore[assignment, func-returns-value]

    def page(address: str) -> str:
        answer = client.get(address, follow=True)
        assert answer.status_code == 200, address
        content: str = answer.content.decode()
        return content

    panel = "/admin/dj-cache-panel/default/keys/"
    seen = {
        "room": page("/admin/dj-control-room/"),
        "card": client.get("/admin/etcdaero/")["Location"],
        "index": page("/admin/"),
        "search": page(panel + "?q=*o*"),
        "found": page(panel + "?q=book"),
        "missing": page(panel + "?q=nothing"),
        "key": page(panel + "book/"),
        "counted": cache.stats() != before or bool(unpickled),
    }
    client.post(panel + "book/", {"action": "delete"})
    client.post(panel, {"action": "flush"})
    seen["left"] = cache.keys()
    return seen


print(json.dumps(visit()))
