"""What pages about datasets say: conditions in words."""

from __future__ import annotations

from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero.inspection.conditions import Condition

WORDS: dict[Condition, Any] = {
    Condition.VALID: _("valid"),
    Condition.NEVER_PUBLISHED: _("never published"),
    Condition.HANGING: _("a load hangs"),
    Condition.FAILED: _("failed since"),
    Condition.OVERDUE: _("overdue"),
    Condition.WARNING: _("something is odd"),
    Condition.PINNED: _("pinned"),
    Condition.REFRESHING: _("refreshing"),
    Condition.REQUESTED: _("requested"),
}
_CLASSES = {0: "good", 1: "warn", 2: "bad"}
_SIGNS = {0: "●", 1: "▲", 2: "■"}


def said(conditions: tuple[Condition, ...] | None, *, by: str = "") -> SafeString:
    """Return conditions as HTML; ``by``: who refreshes. ``None``: the state could not be read."""
    if conditions is None:
        return format_html('<span class="warn">▲ {}</span>', gettext("not known"))
    return format_html_join(" ", '<span class="{} nowrap">{} {}</span>', (_said(each, by) for each in conditions))


def _said(condition: Condition, by: str) -> tuple[str, str, str]:
    words = str(WORDS[condition])
    if condition is Condition.REFRESHING and by:
        words = gettext("%(what)s by %(who)s") % {"what": words, "who": by}
    if condition in (Condition.REFRESHING, Condition.REQUESTED):
        return "quiet", "↻", words
    return _CLASSES[condition.gravity], _SIGNS[condition.gravity], words
