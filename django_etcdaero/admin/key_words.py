"""Keys and values in words: what may be shown of a value, why a key is not changed by hand, other ways to read it."""

from __future__ import annotations

import shlex
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero.conf import DEFAULT_ALIAS
from django_etcdaero.inspection.key_access import SeenKey
from django_etcdaero.inspection.key_text import key_text
from django_etcdaero.inspection.value_forms import ShownValue, show_value
from django_etcdaero.keyvalue.values import KeyValue

HIDDEN = _("Values are shown only with the permission to see them.")


def as_text(kv: KeyValue | None, *, reveal: bool, form: str | None = None) -> ShownValue | None:
    """Return the value of a key in a form for people; ``None`` if it may not be shown, or there is no key."""
    return show_value(kv.value, form) if kv is not None and reveal else None


def why_protected(seen: SeenKey) -> str:
    """Say why a key is not changed by hand; empty: it may be."""
    if seen.protected == "package":
        return gettext(
            "This key belongs to the package itself: it is changed by its commands and by the other pages only."
        )
    if seen.protected == "queue":
        return gettext(
            "This key is a place in the queue for a lock or an election, and goes with its lease: a lock is released "
            "on its own page."
        )
    return ""


def snippets(seen: SeenKey) -> list[dict[str, Any]]:
    """Return how to read the key elsewhere, as a command and in Python: nothing for one that is outside the prefix."""
    if not seen.inside:
        return []
    using = "" if seen.alias == DEFAULT_ALIAS else f" --using {shlex.quote(seen.alias)}"
    try:
        key = repr(seen.inside.decode())
    except UnicodeDecodeError:
        key = repr(seen.inside)
    client = "kv" if seen.alias == DEFAULT_ALIAS else f'kvs["{seen.alias}"]'
    imported = "kv" if seen.alias == DEFAULT_ALIAS else "kvs"
    return [
        {
            "label": gettext("As a command"),
            "text": f"python manage.py etcdaero_get {shlex.quote(key_text(seen.inside))}{using}",
        },
        {"label": gettext("In Python"), "text": f"from django_etcdaero import {imported}\n\n{client}.get({key})"},
    ]
