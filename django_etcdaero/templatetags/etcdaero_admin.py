"""For the templates of the admin's pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import django
from django import template
from django.template import Context
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext

from django_etcdaero.management import describe

register = template.Library()


class Step(NamedTuple):
    """One of the pages above a page, or (without an address) the page itself."""

    text: str
    address: str | None


@register.simple_tag(takes_context=True)
def trail(context: Context) -> str:
    """Return the breadcrumbs in the form that the admin of this Django has: since 6.1 a list, before a line."""
    opts, title, thing = context["opts"], context.get("title"), context.get("thing")
    app = reverse("admin:app_list", args=[opts.app_label], current_app=context.request.current_app)  # type: ignore[attr-defined]
    home = reverse("admin:index", current_app=context.request.current_app)  # type: ignore[attr-defined]
    steps = [
        Step(gettext("Home"), home),
        Step(str(opts.app_config.verbose_name), app),
        Step(str(capfirst(opts.verbose_name_plural)), context.get("list_address")),
    ]
    if thing is not None and str(title) != str(thing):
        steps.append(Step(str(thing), context.get("thing_address")))
    if title and str(capfirst(title)) != steps[-1].text:
        steps.append(Step(str(capfirst(title)), None))
    else:
        steps[-1] = steps[-1]._replace(address=None)
    form = "list" if django.VERSION >= (6, 1) else "line"
    return render_to_string(f"admin/django_etcdaero/trail_{form}.html", {"steps": steps})


@register.filter
def moment(timestamp: float | None) -> str:
    """Say when; ``timestamp`` is in seconds since the epoch."""
    return "" if timestamp is None else describe.moment(timestamp)


@register.filter
def size(count: int | None) -> str:
    """Say how many bytes."""
    return "" if count is None else describe.size(count)


@register.filter
def entry(mapping: Mapping[Any, Any], key: Any) -> Any:
    """Return what a mapping has for a key."""
    return mapping.get(key)
