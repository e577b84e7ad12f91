"""The URLs, to be included under any path, with or without a namespace of the project's own."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "etcdaero_health"

urlpatterns = [
    path("startup", views.startup, name="startup"),
    path("ready", views.ready, name="ready"),
    path("live", views.live, name="live"),
]
