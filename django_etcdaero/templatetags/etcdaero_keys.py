"""For the templates of the pages about keys."""

from __future__ import annotations

from django import template

register = template.Library()


@register.filter
def hexadecimal(number: int) -> str:
    """Write the id of a lease as etcd's tools do."""
    return f"{number:x}"


@register.filter
def labelled(number: int, label: str) -> str:
    """Put a word before a number."""
    return f"{label} {number}"
