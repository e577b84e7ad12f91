"""Deleting a key, and writing an earlier value once more: only if the key is still what the visitor has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero.exceptions import EtcdAeroError, VersionConflict
from django_etcdaero.inspection.key_access import SeenKey, key_client
from django_etcdaero.inspection.key_changes import delete_if, write_if
from django_etcdaero.inspection.key_text import key_text
from django_etcdaero.inspection.value_difference import difference
from django_etcdaero.keyvalue.values import KeyValue
from django_etcdaero.runtime import runtime

from .acts import confirm
from .deadline import DEADLINE
from .key_asking import Wanted
from .key_forms import SeenForm
from .key_pages import KeySection, read_version
from .key_words import why_protected


def remove(section: KeySection, request: HttpRequest, thing: Any) -> HttpResponse:
    """Answer the page on which a key is deleted."""
    seen: SeenKey = thing.value
    refused = why_protected(seen)
    question = gettext("The key “%s” is deleted. It can be restored for as long as the history of the store reaches.")
    parent = Wanted(alias=seen.alias, under=seen.key[: seen.key.rfind(b"/") + 1])

    def perform(data: Mapping[str, Any]) -> str:
        kv = key_client(seen.alias, runtime.stores(seen.alias))
        done = delete_if(kv, seen.key, seen=data["seen"], timeout=DEADLINE)
        if not done.done:
            raise VersionConflict(_lost(data["seen"], done.there))
        return _told(gettext("Deleted with revision %d.") % done.revision, data)

    return confirm(
        section,
        request,
        thing,
        title=_("Delete"),
        question=refused or (question % key_text(seen.key)),
        perform=perform,
        form_class=SeenForm,
        initial={"seen": 0 if seen.kv is None else seen.kv.mod_revision},
        offered=not refused and seen.kv is not None,
        danger=True,
        template="admin/django_etcdaero/key_confirm.html",
        then=lambda: section.address() + parent.query(),
        context={"seen": seen, "acts": []},
    )


def restore(section: KeySection, request: HttpRequest, thing: Any) -> HttpResponse:
    """Answer the page on which the value of an earlier revision is written once more, as a new version."""
    seen: SeenKey = thing.value
    wanted = Wanted.of(request, alias=seen.alias)
    revision = wanted.revision
    refused, then = why_protected(seen), None
    if not refused and revision:
        try:
            then = read_version(seen.alias, seen.key, revision)
        except EtcdAeroError as error:
            refused = gettext("Revision %(revision)d cannot be read: %(error)s") % {
                "revision": revision,
                "error": error,
            }
    if not refused and then is None:
        refused = gettext("There is no version to restore: choose one of the versions of the key.")
    if not refused and then is not None and seen.kv is not None and seen.kv.value == then.value:
        refused = gettext("The key has this value now.")
    question = gettext(
        "The value that the key “%(key)s” had at revision %(revision)d is written as a new version, on no lease. It "
        "is written only if nobody else changes the key meanwhile."
    ) % {"key": key_text(seen.key), "revision": revision}

    def perform(data: Mapping[str, Any]) -> str:
        assert then is not None
        kv = key_client(seen.alias, runtime.stores(seen.alias))
        done = write_if(kv, seen.key, then.value, seen=data["seen"], lease=0, timeout=DEADLINE)
        if not done.done:
            raise VersionConflict(_lost(data["seen"], done.there))
        words = gettext("Restored from revision %(old)d with revision %(new)d.")
        return _told(words % {"old": then.mod_revision, "new": done.revision}, data)

    reveal = section.reveals(request)
    compared = None
    if then is not None and reveal:
        compared = difference(b"" if seen.kv is None else seen.kv.value, then.value)
    return confirm(
        section,
        request,
        thing,
        title=_("Restore"),
        question=refused or question,
        perform=perform,
        form_class=SeenForm,
        initial={"seen": 0 if seen.kv is None else seen.kv.mod_revision},
        offered=not refused,
        template="admin/django_etcdaero/key_confirm.html",
        context={"seen": seen, "difference": compared, "mistakes": wanted.mistakes, "acts": []},
    )


def _told(words: str, data: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (words, data["comment"])))


def _lost(seen: int, there: KeyValue | None) -> str:
    """Say why nothing was done."""
    if there is None:
        return gettext("the key was deleted meanwhile; nothing was changed")
    if not seen:
        return gettext("the key exists by now (revision %d); nothing was changed") % there.mod_revision
    words = gettext("the key was changed meanwhile (revision %(seen)d became %(there)d); nothing was changed")
    return words % {"seen": seen, "there": there.mod_revision}
