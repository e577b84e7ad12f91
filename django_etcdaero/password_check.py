"""W008: URLs with a password that Django would show."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning
from django.utils.module_loading import import_string

from . import conf
from .secret import Secret, is_our_cache


def check_passwords(**kwargs: Any) -> list[CheckMessage]:
    """W008, with ``--deploy``: Django hides settings on its debug pages by their names, and a URL is not hidden."""
    places = [*conf.urls_with_password(), *_caches_with_password()]
    if not places or _reports_hide_passwords():
        return []
    hint = (
        "Make it a django_etcdaero.Secret(...); or leave user and password out of the URL and give them as KV_USER and "
        'KV_PASSWORD (RECORDS_USER and RECORDS_PASSWORD) beside it, of a cache by "LOCATION": "etcdaero:ALIAS"; or set '
        'DEFAULT_EXCEPTION_REPORTER_FILTER to "django_etcdaero.error_reports.PasswordFilter".'
    )
    return [
        CheckWarning(
            f"{place} is a URL with a password in it, which Django's debug pages, error mails and 'manage.py "
            "diffsettings' show.",
            hint=hint,
            id="etcdaero.W008",
        )
        for place in places
    ]


def _reports_hide_passwords() -> bool:
    """Tell whether the project's filter of error reports is ours, or one that is made of it."""
    from .error_reports import PasswordFilter  # here: starting must stay cheap

    try:
        chosen = import_string(settings.DEFAULT_EXCEPTION_REPORTER_FILTER)
    except ImportError:
        return False
    return isinstance(chosen, type) and issubclass(chosen, PasswordFilter)


def _caches_with_password() -> list[str]:
    locations = {alias: params.get("LOCATION") for alias, params in settings.CACHES.items() if is_our_cache(params)}
    return [
        f'CACHES["{alias}"]["LOCATION"]'
        for alias, location in locations.items()
        if isinstance(location, str) and not isinstance(location, Secret) and "@" in location
    ]
