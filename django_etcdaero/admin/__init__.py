"""The pages in Django's admin. Importing this registers them with the admin site of the project."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin import AdminSite

from ..models import Cache, Dataset, Key, Lease, Lock, Overview, Process, Watch
from .caches import CacheAdmin
from .datasets import DatasetAdmin
from .inspected import InspectedAdmin
from .keys import KeyAdmin
from .leases import LeaseAdmin
from .locks import LockAdmin
from .overview import OverviewAdmin
from .processes import ProcessAdmin
from .watches import WatchAdmin

PAGES: dict[type, type[InspectedAdmin]] = {
    Overview: OverviewAdmin,
    Dataset: DatasetAdmin,
    Key: KeyAdmin,
    Process: ProcessAdmin,
    Cache: CacheAdmin,
    Lock: LockAdmin,
    Lease: LeaseAdmin,
    Watch: WatchAdmin,
}


def register(site: AdminSite) -> None:
    """Add the pages to another admin site of the project."""
    for model, page in PAGES.items():
        site.register(model, page)


register(admin.site)
