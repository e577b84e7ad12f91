"""Numbers, moments and sizes as the language of a visitor writes them, for pages.

Commands write theirs by :mod:`django_etcdaero.management.describe`, the same in every language.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

from django.template.defaultfilters import filesizeformat
from django.utils import formats, timezone
from django.utils.translation import gettext, ngettext


def count(number: int) -> str:
    """Return a number with its thousands set apart."""
    return formats.number_format(number, use_l10n=True, force_grouping=True)


def moment(timestamp: float) -> str:
    """Say when, in Django's current time zone, and which that is; ``timestamp`` is in seconds since the epoch.

    The day has the form of ``DATE_FORMAT``, and is left out if it is today. The time has its seconds, which none of
    Django's formats has, and by which pages and logs are compared.
    """
    when = timezone.localtime(datetime.fromtimestamp(timestamp, UTC))
    time = f"{when:%H:%M:%S %Z}"
    if when.date() == timezone.localtime().date():
        return time
    return f"{formats.date_format(when, 'DATE_FORMAT')} {time}"


def size(number: int) -> str:
    """Say how many bytes, as Django does."""
    return filesizeformat(number)


def span(seconds: float) -> str:
    """Say how long, in the largest unit of which there are two or more."""
    if seconds == math.inf:
        return "∞"
    if seconds < 0.9995:  # number_format() cuts off
        decimals = 1 if 0 < seconds < 0.0095 else 0
        return gettext("%(number)s ms") % {"number": formats.number_format(round(seconds * 1000, decimals), decimals)}
    if seconds < 10:
        return gettext("%(number)s s") % {"number": formats.number_format(round(seconds, 1), 1)}
    if seconds < 120:
        return gettext("%(number)s s") % {"number": count(int(seconds))}
    if seconds < 7200:
        return gettext("%(number)s min") % {"number": count(int(seconds // 60))}
    if seconds < 172_800:
        return gettext("%(number)s h") % {"number": count(int(seconds // 3600))}
    days = int(seconds // 86_400)
    return ngettext("%(number)s day", "%(number)s days", days) % {"number": count(days)}
