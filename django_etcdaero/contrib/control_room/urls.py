"""Where the card leads: ``include("django_etcdaero.contrib.control_room.urls")`` in the project's URLs."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse

from django_etcdaero.admin import PAGES

app_name = "django_etcdaero.contrib.control_room"


def index(request: HttpRequest) -> HttpResponse:
    """Send the visitor to the first section in the admin."""
    model = next(iter(PAGES)).__name__.lower()
    return HttpResponseRedirect(reverse(f"admin:django_etcdaero_{model}_changelist"))


urlpatterns = [path("", index, name="index")]
