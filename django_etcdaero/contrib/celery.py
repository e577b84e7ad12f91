"""Tasks for Celery: ``refresh.delay("prices")``, ``refresh_due.delay()``.

A worker knows them when this module is in its ``imports`` (with Celery's usual set-up for Django:
``CELERY_IMPORTS = ["django_etcdaero.contrib.celery"]``). They are called ``django_etcdaero.refresh`` and
``django_etcdaero.refresh_due``.
"""

from __future__ import annotations

from typing import Any

from .extras import missing

try:
    from celery import shared_task
except ImportError as error:
    raise missing(__name__, "celery", "celery") from error

from . import refreshing


@shared_task(name="django_etcdaero.refresh")
def refresh(name: str, force: bool = False) -> dict[str, Any]:
    """Refresh a dataset if it is due, or at once with ``force``: :func:`.refreshing.refresh`."""
    return refreshing.refresh(name, force=force)


@shared_task(name="django_etcdaero.refresh_due")
def refresh_due() -> list[dict[str, Any]]:
    """Refresh the datasets that are due: :func:`.refreshing.refresh_due`."""
    return refreshing.refresh_due()
