"""The app to install."""

from __future__ import annotations

from django.apps import AppConfig

from django_etcdaero.contrib.extras import missing


class PrometheusConfig(AppConfig):
    """Counts from the start on, and registers what is read when Prometheus asks. Set the attributes in a subclass."""

    name = "django_etcdaero.contrib.prometheus"
    label = "etcdaero_prometheus"
    verbose_name = "Metrics of django-etcdaero"

    django_cache_names = False
    """Whether caches are counted under the names of django-prometheus too (``django_cache_get_total``, …)."""
    timeout = 2.0
    """Seconds that all stores together may take to answer when Prometheus asks."""

    def ready(self) -> None:
        try:
            import prometheus_client  # noqa: F401 - whether it is there
        except ImportError as error:
            raise missing(self.name, "prometheus-client", "prometheus") from error
        from . import caches, cluster, process

        process.connect()
        caches.connect(django_names=self.django_cache_names)
        cluster.register(timeout=self.timeout)
