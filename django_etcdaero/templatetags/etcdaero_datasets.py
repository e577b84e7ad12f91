"""For the templates of the pages about datasets."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero.inspection import localized

register = template.Library()

MOST = 200
"""Characters of a value in a table."""
BRIEF = 60
"""Characters of a value in a column of many."""
WHOLE = 20_000
"""Characters of a value that is looked at by itself."""


@register.filter
def literal(value: Any, most: int = MOST) -> str:
    """Return a value as Python writes it, which tells types apart and shows what cannot be printed; cut if long."""
    text = repr(value)
    if len(text) <= most:
        return text
    left = len(text) - most
    return text[:most] + ngettext("… (%(count)d character more)", "… (%(count)d characters more)", left) % {
        "count": left
    }


@register.filter
def whole(value: Any) -> str:
    """Likewise, for a value that is looked at by itself."""
    return literal(value, WHOLE)


@register.filter
def ago(timestamp: float | None, now: float) -> str:
    """Say how long before ``now`` (seconds since the epoch) something was, or how long after."""
    if timestamp is None:
        return ""
    words = gettext("%(span)s ago") if timestamp <= now else gettext("in %(span)s")
    return words % {"span": localized.span(abs(now - timestamp))}


@register.filter
def count(number: int | None) -> str:
    """Return a number with its thousands set apart."""
    return "" if number is None else localized.count(number)


@register.filter
def brief(value: Any) -> str:
    """Return a value as Python writes it, cut to fit a column."""
    text = repr(value)
    return text if len(text) <= BRIEF else f"{text[:BRIEF]}…"


PHASES = {"load": _("load"), "validate": _("validate"), "store": _("store"), "try": _("try")}


@register.filter
def phase(name: str) -> str:
    """Return what a phase of a refresh is called."""
    return str(PHASES.get(name, name))


@register.filter
def percent(part: float) -> str:
    """Say a part of 1; all of it only if it is."""
    return "100 %" if part >= 1 else f"{min(99, int(part * 100))} %"
