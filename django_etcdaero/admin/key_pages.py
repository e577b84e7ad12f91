"""What the pages of keys show: each asks the store of one alias, within the deadline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from django.http import HttpRequest
from django.utils.translation import gettext

from django_etcdaero import conf
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.exceptions import Compacted, EtcdAeroError, FutureRevision
from django_etcdaero.inspection.aliases import ask_aliases
from django_etcdaero.inspection.key_access import SeenKey, key_client
from django_etcdaero.inspection.key_history import deletions, versions
from django_etcdaero.inspection.key_levels import Level, read_level, read_matches
from django_etcdaero.inspection.key_reach import Reach, reach
from django_etcdaero.inspection.key_text import key_text
from django_etcdaero.inspection.problem import Problem
from django_etcdaero.inspection.revision_times import Span, dated_revisions, span_at
from django_etcdaero.inspection.value_difference import difference
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.values import KeyValue

from .deadline import DEADLINE
from .key_asking import Wanted
from .key_words import as_text
from .mistakes import number_of
from .section import Section

T = TypeVar("T")
DELETED_PAGE = 200
"""Deleted keys that a page shows."""
VERSIONS_PAGE = 20
"""Versions of a key that a page shows."""
SHORT = 300
"""Characters of a value or a name in a table."""
LONGEST_LINKED = 1_000
"""Bytes of a key that has a page of its own: servers take addresses of a few thousand characters, and a byte may be
nine of them."""


class KeySection(Section, Protocol):
    """The section of the keys."""

    def thing_of(self, seen: SeenKey) -> Any:
        """Return the thing that stands for a key."""

    def reveals(self, request: HttpRequest) -> bool:
        """Tell whether the visitor may see values."""


def _asked(alias: str, read: Callable[[Stores], T]) -> tuple[T | None, list[Problem]]:
    answers = ask_aliases(lambda _alias, stores: read(stores), timeout=DEADLINE, aliases=[alias])
    return answers.by_alias.get(alias), answers.problems


def address_of_key(section: KeySection, alias: str, key: bytes, name: str = "change") -> str:
    """Return the address of a page of a key that was not read."""
    seen = SeenKey(alias=alias, key=key, kv=None, lease=None, inside=None, protected=None, revision=0)
    return section.address_of(section.thing_of(seen), name)


# --- the tree --------------------------------------------------------------------------------------------------------


def tree_context(section: KeySection, wanted: Wanted) -> dict[str, Any]:
    """Return a level of the tree, or what a search has found, now or as of a revision or a time."""
    mistakes = list(wanted.mistakes)

    def read(stores: Stores) -> tuple[Reach, Span | None, int, Level | None]:
        kv = key_client(wanted.alias, stores)
        found = reach(kv, timeout=DEADLINE)
        revision, span = wanted.revision, None
        if wanted.moment is not None:
            span = span_at(wanted.moment, dated_revisions(stores.kv, found, timeout=DEADLINE), found)
            if span is None:
                return found, None, 0, None
            revision = span.chosen(found)
        try:
            return found, span, revision, _level(kv, wanted, revision)
        except (Compacted, FutureRevision):
            mistakes.append(gettext("Revision %(revision)d cannot be read.") % {"revision": revision})
            return found, span, revision, None

    answer, problems = _asked(wanted.alias, read)
    found, span, revision, level = answer or (None, None, 0, None)
    if found is not None and level is None and wanted.moment is not None and span is None:
        mistakes.append(
            gettext(
                "Which revision the store had then is not known: nothing in it that can still be read is from before."
            )
        )
    query = wanted.query(start=b"")
    return {
        "wanted": wanted,
        "mistakes": mistakes,
        "problems": problems,
        "reach": found,
        "span": span,
        "as_of": revision,
        "level": level,
        "entries": [] if level is None else [_entry(section, wanted, each, revision) for each in level.entries],
        "path": _path(wanted),
        "next_query": wanted.query(start=level.next) if level is not None and level.next is not None else None,
        "first_query": query if wanted.start else None,
        "now_query": wanted.query(revision=0, time="", start=b""),
        "root_query": wanted.query(under=b"", search=None, start=b""),
        "aliases": [
            {"name": each, "query": Wanted(alias=each).query(), "current": each == wanted.alias}
            for each in conf.aliases()
        ],
        "deleted_address": section.address("deleted") + Wanted(alias=wanted.alias, under=wanted.under).query(),
        "new_address": section.address("new") + Wanted(alias=wanted.alias, under=wanted.under).query(),
    }


def _level(kv: KV, wanted: Wanted, revision: int) -> Level:
    if wanted.search is not None:
        return read_matches(kv, wanted.search, start=wanted.start, revision=revision, timeout=DEADLINE)
    return read_level(kv, wanted.under, start=wanted.start, revision=revision, seconds=DEADLINE / 3, timeout=DEADLINE)


def _entry(section: KeySection, wanted: Wanted, entry: Any, revision: int) -> dict[str, Any]:
    shown = {"name": _short(key_text(entry.name)) or gettext("(empty name)"), "entry": entry}
    if len(entry.key) > LONGEST_LINKED:
        shown["address"] = ""
    elif entry.is_folder:
        shown["address"] = wanted.query(under=entry.key, start=b"", search=None)
    else:
        query = f"?revision={revision}" if revision else ""
        shown["address"] = address_of_key(section, wanted.alias, entry.key) + query
    return shown


def _short(name: str) -> str:
    return name if len(name) <= SHORT else name[:SHORT] + "…"


def _path(wanted: Wanted) -> list[dict[str, str]]:
    """Return the folders above the level, from the root to the level itself."""
    steps, done = [], b""
    for part in wanted.under.split(b"/")[:-1]:
        done += part + b"/"
        steps.append({"name": key_text(part + b"/"), "query": wanted.query(under=done, start=b"", search=None)})
    if done != wanted.under:  # it ends with no separator: written by hand
        steps.append(
            {"name": key_text(wanted.under[len(done) :]), "query": wanted.query(start=b"", search=None)},
        )
    return steps


# --- what was deleted ------------------------------------------------------------------------------------------------


def deleted_context(section: KeySection, wanted: Wanted) -> dict[str, Any]:
    """Return the keys that were deleted, the last deletion first."""

    def read(stores: Stores) -> tuple[Reach, Any]:
        kv = key_client(wanted.alias, stores)
        found = reach(kv, timeout=DEADLINE)
        return found, deletions(kv, wanted.under, found, prefix=True, seconds=DEADLINE / 2)

    answer, problems = _asked(wanted.alias, read)
    found, gone = answer or (None, None)
    rows = [] if gone is None else gone.found[:DELETED_PAGE]
    return {
        "wanted": wanted,
        "problems": problems,
        "mistakes": wanted.mistakes,
        "reach": found,
        "gone": gone,
        "more": 0 if gone is None else len(gone.found) - len(rows),
        "rows": [
            {
                "name": _short(key_text(each.key)),
                "revision": each.revision,
                "address": address_of_key(section, wanted.alias, each.key, "versions"),
                "restore": address_of_key(section, wanted.alias, each.key, "restore")
                + f"?revision={each.revision - 1}",
            }
            for each in rows
            if len(each.key) <= LONGEST_LINKED
        ],
        "tree_address": section.address() + Wanted(alias=wanted.alias, under=wanted.under).query(),
        "aliases": [
            {"name": each, "query": Wanted(alias=each).query(), "current": each == wanted.alias}
            for each in conf.aliases()
        ],
    }


# --- what a key was --------------------------------------------------------------------------------------------------


def versions_context(section: KeySection, request: HttpRequest, thing: Any) -> dict[str, Any]:
    """Return versions of a key in one of its lives, and where its earlier lives ended."""
    seen: SeenKey = thing.value
    wanted = Wanted.of(request, alias=seen.alias)
    before = wanted.revision
    reveal = section.reveals(request)

    def read(stores: Stores) -> tuple[Reach, Any, Any]:
        kv = key_client(seen.alias, stores)
        found = reach(kv, timeout=DEADLINE)
        ended = None
        if seen.kv is None or seen.kv.create_revision > found.oldest:
            ended = deletions(kv, seen.key, found, prefix=False, seconds=DEADLINE / 3)
        at = before
        if not at and seen.kv is None and ended is not None and ended.found:
            at = ended.found[0].revision - 1
        at = min(max(at, 0), found.newest)
        return found, ended, versions(kv, seen.key, found, before=at, limit=VERSIONS_PAGE, timeout=DEADLINE)

    answer, problems = _asked(seen.alias, read)
    found, ended, page = answer or (None, None, None)
    address = section.address_of(thing, "versions")
    restore = section.address_of(thing, "restore")
    return {
        "seen": seen,
        "before": before,
        "problems": problems,
        "mistakes": wanted.mistakes,
        "reach": found,
        "reveal": reveal,
        "page": page,
        "lives": []
        if ended is None
        else [{"revision": each.revision, "last": each.revision - 1} for each in ended.found],
        "ended": ended,
        "versions_address": address,
        "compare_address": section.address_of(thing, "compare"),
        "rows": [] if page is None else [_version(each, seen, reveal, restore) for each in page.found],
        "acts": [],
    }


def _version(version: Any, seen: SeenKey, reveal: bool, restore: str) -> dict[str, Any]:
    shown = as_text(version.kv, reveal=reveal)
    return {
        "version": version,
        "kv": version.kv,
        "size": len(version.kv.value),
        "text": None if shown is None else shown.text[:SHORT],
        "cut": shown is not None and len(shown.text) > SHORT,
        "current": version.until is None,
        "restore": f"{restore}?revision={version.kv.mod_revision}",
        "differs": seen.kv is None or seen.kv.value != version.kv.value,
    }


def compare_context(section: KeySection, request: HttpRequest, thing: Any) -> dict[str, Any]:
    """Return two versions of a key, and their difference if values may be shown."""
    seen: SeenKey = thing.value
    mistakes: list[str] = []
    labels = {"a": gettext("Old"), "b": gettext("New")}
    revisions = [number_of(request.GET.get(name, ""), label, mistakes) for name, label in labels.items()]
    reveal = section.reveals(request)

    def read(stores: Stores) -> list[KeyValue | None]:
        kv = key_client(seen.alias, stores)
        found = []
        for revision in revisions:
            try:
                found.append(kv.get(seen.key, revision=revision, timeout=DEADLINE) if revision else seen.kv)
            except (Compacted, FutureRevision) as error:
                mistakes.append(f"{revision}: {error}")
                found.append(None)
        return found

    answer, problems = _asked(seen.alias, read)
    old, new = answer or (None, None)
    sides = [each for each in (old, new) if each is not None]
    return {
        "old": old,
        "new": new,
        "problems": problems,
        "mistakes": mistakes,
        "reveal": reveal,
        "difference": difference(old.value, new.value) if old and new and reveal else None,
        "sizes": [len(each.value) for each in sides],
        "versions_address": section.address_of(thing, "versions"),
        "acts": [],
    }


def read_version(alias: str, key: bytes, revision: int) -> KeyValue | None:
    """Read a key as of a revision, within the deadline; ``None``: there was none. Raises what the store raises."""
    found, problems = _asked(
        alias, lambda stores: [key_client(alias, stores).get(key, revision=revision, timeout=DEADLINE)]
    )
    if found is None:
        raise EtcdAeroError(str(problems[0]))
    return found[0]
