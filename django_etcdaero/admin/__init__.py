"""The pages in Django's admin. Importing this registers them with the admin site of the project."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin import AdminSite

from ..models import Dataset, Lease, Lock, Process, Watch
from .datasets import DatasetAdmin
from .inspected import InspectedAdmin
from .leases import LeaseAdmin
from .locks import LockAdmin
from .processes import ProcessAdmin
from .watches import WatchAdmin

PAGES: dict[type, type[InspectedAdmin]] = {
    Dataset: DatasetAdmin,
    Process: ProcessAdmin,
    Lock: LockAdmin,
    Lease: LeaseAdmin,
    Watch: WatchAdmin,
}


def register(site: AdminSite) -> None:
    """Add the pages to another admin site of the project."""
    for model, page in PAGES.items():
        site.register(model, page)


register(admin.site)
