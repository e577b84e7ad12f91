"""``path("metrics", include("django_etcdaero.contrib.prometheus.urls"))``."""

from __future__ import annotations

from django.urls import path

from .views import metrics

app_name = "etcdaero_prometheus"
urlpatterns = [path("", metrics, name="metrics")]
