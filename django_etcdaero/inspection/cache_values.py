"""Values of cache entries for people. Nothing that could run code is called: what was pickled is shown as bytes."""

from __future__ import annotations

import pprint
from dataclasses import replace
from typing import TYPE_CHECKING

from django_etcdaero.cache import serializers

from .value_forms import MOST_PARSED, ShownValue, show_value

if TYPE_CHECKING:
    from django_etcdaero.cache.stored_entry import StoredEntry

_PICKLES = (serializers.SIGNED_PICKLE.name, serializers.UNSIGNED_PICKLE.name)


def show_entry(entry: StoredEntry) -> ShownValue | None:
    """Show the value of an entry; ``None``: it cannot be had. Sizes are those before it was compressed."""
    content = entry.content
    if content is None:
        return None
    if isinstance(content, int):
        return show_value(str(content).encode(), "text")
    if entry.serializer == serializers.JSON.name:
        return show_value(content, "json")
    if entry.serializer == serializers.MSGPACK.name:
        return _unpacked(content) or show_value(content, "hex")
    return show_value(content, "hex")


def is_pickle(entry: StoredEntry) -> bool:
    """Tell whether the value can be had only by running what it says."""
    return entry.serializer in _PICKLES


def _unpacked(content: bytes) -> ShownValue | None:
    """Show MessagePack, single numbers and texts too, as it is known to be some."""
    if len(content) > MOST_PARSED:
        return None
    try:
        text = pprint.pformat(serializers.MSGPACK.loads(content), width=100, sort_dicts=False)
    except Exception:  # msgpack has errors of its own, and may not be there
        return None
    shown = show_value(text.encode(errors="backslashreplace"), "text")
    return replace(shown, form="msgpack", size=len(content), shown=min(shown.shown, len(content)))
