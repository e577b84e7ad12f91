"""Tasks that refresh, in Django's own task queue."""

from __future__ import annotations

import importlib
from typing import Any

import django
import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.management.running import declare

pytestmark = pytest.mark.usefixtures("registry", "closing")

WITH_DJANGO_TASKS = django.VERSION >= (6, 0)


@pytest.mark.skipif(not WITH_DJANGO_TASKS, reason="django.tasks comes with Django 6.0")
def test_the_task_queue_of_django_refreshes() -> None:
    tasks: Any = importlib.import_module("django_etcdaero.contrib.tasks")
    prices = declare()
    done = tasks.refresh.enqueue("prices")
    assert (done.status, done.return_value["outcome"]) == ("SUCCESSFUL", "refreshed")
    assert tasks.refresh_due.enqueue().return_value[0]["outcome"] == "fresh"
    prices.errors.append(ValueError("no rows"))
    failed = tasks.refresh.enqueue("prices", force=True)
    assert failed.status == "FAILED"
    assert failed.errors[0].exception_class_path == "django_etcdaero.exceptions.RefreshFailed"


@pytest.mark.skipif(WITH_DJANGO_TASKS, reason="there is django.tasks")
def test_without_the_task_queue_of_django_its_version_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"needs django.tasks, which comes with Django 6.0"):
        importlib.import_module("django_etcdaero.contrib.tasks")
