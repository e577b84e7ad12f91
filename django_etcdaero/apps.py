"""The application: finds the datasets of all apps, registers the checks, and arms the reader of the process."""

from __future__ import annotations

import sys

from django.apps import AppConfig
from django.conf import settings
from django.utils.module_loading import autodiscover_modules


class EtcdAeroConfig(AppConfig):
    """``"django_etcdaero"`` in ``INSTALLED_APPS``."""

    name = "django_etcdaero"
    verbose_name = "etcdaero"

    def ready(self) -> None:
        """Do what is cheap and local: no store is opened here, and nothing waits."""
        from . import checks
        from .development import refresh_in_runserver
        from .model_datasets import changes
        from .runtime import runtime
        from .secret import hide_passwords
        from .system.serving import is_django_test_run

        hide_passwords(getattr(settings, "ETCDAERO", None), settings.CACHES)
        checks.register_all()
        changes.watch()
        autodiscover_modules("datasets")
        runtime.arm()
        if is_django_test_run(sys.argv):
            from .testing.isolation import isolate_tests  # here: it imports much

            isolate_tests()
        refresh_in_runserver()
