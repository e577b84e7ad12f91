"""The pages in Django's admin. Importing this registers them with the admin site of the project."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin import AdminSite

from ..models import Cache, Dataset, Key, Overview, Process
from .caches import CacheAdmin
from .datasets import DatasetAdmin
from .inspected import InspectedAdmin
from .keys import KeyAdmin
from .overview import OverviewAdmin
from .processes import ProcessAdmin

PAGES: dict[type, type[InspectedAdmin]] = {
    Overview: OverviewAdmin,
    Dataset: DatasetAdmin,
    Key: KeyAdmin,
    Process: ProcessAdmin,
    Cache: CacheAdmin,
}


def register(site: AdminSite) -> None:
    """Add the pages to another admin site of the project."""
    for model, page in PAGES.items():
        site.register(model, page)


register(admin.site)
