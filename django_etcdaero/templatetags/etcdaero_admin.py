"""For the templates of the admin's pages."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

import django
from django import template
from django.contrib.admin.utils import quote
from django.template import Context
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.http import urlencode
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero import conf
from django_etcdaero.inspection import localized, silence
from django_etcdaero.inspection.key_text import key_text
from django_etcdaero.inspection.problem import Problem

register = template.Library()
register.filter("key_text", key_text)


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
    last = str(thing) if thing is not None and str(title) == str(thing) else str(capfirst(title or ""))
    if last and last != steps[-1].text:
        steps.append(Step(last, None))
    else:
        steps[-1] = steps[-1]._replace(address=None)
    form = "list" if django.VERSION >= (6, 1) else "line"
    return render_to_string(f"admin/django_etcdaero/trail_{form}.html", {"steps": steps})


@register.filter
def moment(timestamp: float | None) -> str:
    """Say when; ``timestamp`` is in seconds since the epoch."""
    return "" if timestamp is None else localized.moment(timestamp)


@register.filter
def silent_since(problem: Problem) -> float | None:
    """Return since when a store does not answer, as far as this process knows, in seconds since the epoch."""
    return problem.since or silence.silent_since(problem.alias, problem.store, problem.type)


@register.filter
def size(count: int | None) -> str:
    """Say how many bytes."""
    return "" if count is None else localized.size(count)


@register.filter
def span(seconds: float | None) -> str:
    """Say how long."""
    return "" if seconds is None else localized.span(seconds)


@register.filter
def entry(mapping: Mapping[Any, Any], key: Any) -> Any:
    """Return what a mapping has for a key."""
    return mapping.get(key)


@register.filter
def hexadecimal(number: int) -> str:
    """Write the id of a lease as etcd's tools do."""
    return f"{number:x}"


FORMS = {"text": _("text"), "hex": _("hex")}


@register.filter
def value_form(name: str) -> str:
    """Return what a form is called in which a value is shown; JSON and MessagePack are called so everywhere."""
    return str(FORMS.get(name, name))


@register.filter
def labelled(number: int, label: str) -> str:
    """Put a word before a number."""
    return f"{label} {number}"


@register.filter
def shell_word(text: str) -> str:
    """Return a text as one word of a command line."""
    return shlex.quote(text)


@register.simple_tag(takes_context=True)
def page_of_key(context: Context, alias: str, key: bytes) -> str:
    """Return the address of the page of a key below the prefix of an alias; empty as in :func:`page_of`."""
    return page_of(context, "key", f"{alias}/{key_text(_in_tree(alias, key))}")


@register.simple_tag(takes_context=True)
def tree_under(context: Context, alias: str, under: str) -> str:
    """Return the address of the tree of keys below ``under`` and the prefix of an alias; empty as in
    :func:`page_of`."""
    address = page_of(context, "key")
    query = urlencode({"alias": alias, "under": key_text(_in_tree(alias, under.encode()))})
    return f"{address}?{query}" if address else ""


def _in_tree(alias: str, key: bytes) -> bytes:
    """Return what a key is called where keys are looked at: there the whole store may be shown."""
    used = conf.get(alias)
    return f"{used.prefix}/".encode() + key if used.options.ADMIN_KEYS == "all" else key


@register.simple_tag(takes_context=True)
def page_of(context: Context, section: str, *parts: str) -> str:
    """Return the address of the page of a thing, or without ``parts`` of the list; ``parts`` make its primary key.

    Empty if the visitor may not see the section, or the site does not have it.
    """
    request: Any = context.request  # type: ignore[attr-defined]
    if not request.user.has_perm(f"django_etcdaero.view_{section}"):
        return ""
    view, args = ("change", [quote("".join(parts))]) if parts else ("changelist", [])
    try:
        return reverse(f"admin:django_etcdaero_{section}_{view}", args=args, current_app=request.current_app)
    except NoReverseMatch:
        return ""
