"""The views that operators' programs ask."""

from django.urls import include, path

urlpatterns = [
    path("health/", include("django_etcdaero.contrib.health.urls")),
    path("metrics", include("django_etcdaero.contrib.prometheus.urls")),
]
