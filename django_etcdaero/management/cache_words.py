"""What acts on caches do, and the states of entries, in words: for commands and for the admin's pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext, ngettext

from django_etcdaero.inspection.caches import CacheState

if TYPE_CHECKING:
    from django_etcdaero.cache.stored_entry import StoredEntry


def scope_of_clear(cache: CacheState) -> list[str]:
    """Say in sentences exactly what clearing a cache does, and what it leaves alone."""
    said = [
        gettext("All entries of the cache “%(cache)s” are forgotten: %(prefix)s, of every version, in %(place)s.")
        % {"cache": cache.alias, "prefix": _prefix(cache), "place": cache.location or gettext("an unknown place")},
        _how_many(cache),
    ]
    if cache.cleared_with:
        names = ", ".join(cache.cleared_with)
        said.append(gettext("These caches have the same place and key prefix and are emptied with it: %s.") % names)
    if cache.sessions:
        said.append(gettext("The sessions of users are among the entries: everybody is logged out."))
    if cache.settings is not None and cache.settings.in_process:
        said.append(gettext("They are in the memory of each process: only those of this one go."))
    said.append(gettext("Entries with another key prefix, and all else in the store, stay."))
    return said


def scope_of_invalidation(cache: CacheState, tags: tuple[str, ...]) -> str:
    """Say in a sentence what invalidating tags does."""
    said = ngettext(
        "No entry of the cache “%(cache)s” counts any more that was stored with the tag %(tags)s: %(prefix)s,"
        " of every version, in %(place)s.",
        "No entry of the cache “%(cache)s” counts any more that was stored with one of the tags %(tags)s: %(prefix)s,"
        " of every version, in %(place)s.",
        len(tags),
    )
    named = ", ".join(f"“{tag}”" for tag in tags)
    return said % {"cache": cache.alias, "tags": named, "prefix": _prefix(cache), "place": cache.location}


def state_of_entry(entry: StoredEntry) -> str:
    """Say whether an entry counts."""
    from django_etcdaero.cache.stored_entry import EntryState  # here: the admin imports this in every process

    said = {
        EntryState.FRESH: gettext("valid"),
        EntryState.EXPIRED: gettext("has expired, and counts as missing"),
        EntryState.INVALIDATED: gettext("was invalidated by a tag, and counts as missing"),
        EntryState.DELETED: gettext("was deleted; a mark keeps it from coming back"),
        EntryState.UNREADABLE: gettext("cannot be read, and counts as missing"),
    }[entry.state]
    return gettext("%s; get_or_set() may fall back on it") % said if entry.stands_in else said


def _prefix(cache: CacheState) -> str:
    prefix = "" if cache.settings is None else cache.settings.key_prefix
    if not prefix:
        return gettext("those without a key prefix")
    return gettext("those with the key prefix “%s”") % prefix


def _how_many(cache: CacheState) -> str:
    if cache.entries is None:
        return gettext("How many there are is not known.")
    text = ngettext("There is about %(number)s.", "There are about %(number)s.", cache.entries)
    return text % {"number": f"{cache.entries:,}"}
