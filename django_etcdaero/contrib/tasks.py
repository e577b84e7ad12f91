"""Tasks for ``django.tasks`` (Django 6.0 and later): ``refresh.enqueue("prices")``, ``refresh_due.enqueue()``."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured

try:
    from django.tasks import task
except ImportError as error:
    raise ImproperlyConfigured(f"{__name__} needs django.tasks, which comes with Django 6.0") from error

from . import refreshing


@task
def refresh(name: str, force: bool = False) -> dict[str, Any]:
    """Refresh a dataset if it is due, or at once with ``force``: :func:`.refreshing.refresh`."""
    return refreshing.refresh(name, force=force)


@task
def refresh_due() -> list[dict[str, Any]]:
    """Refresh the datasets that are due: :func:`.refreshing.refresh_due`."""
    return refreshing.refresh_due()
