"""Keys: the tree, search, a key with its value, what it was before, and what was deleted."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero import conf
from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.inspection.aliases import ask_aliases
from django_etcdaero.inspection.key_access import SeenKey, look_at_key
from django_etcdaero.inspection.key_text import key_bytes, key_text

from ..models import Key
from .deadline import DEADLINE
from .inspected import Found, InspectedAdmin, Page
from .key_asking import Wanted
from .key_pages import compare_context, deleted_context, tree_context, versions_context
from .key_removing import remove, restore
from .key_words import as_text, snippets, why_protected
from .key_writing import write


def split_pk(pk: str) -> tuple[str, bytes] | None:
    """Return the alias and the key of a primary key, ``None`` if it is none."""
    alias, slash, text = pk.partition("/")
    try:
        key = key_bytes(text)
    except InvalidRequest:
        return None
    return (alias, key) if slash and key and alias in conf.aliases() else None


class KeyAdmin(InspectedAdmin):
    """The keys of the KV stores. Values are shown to those only who have the permission ``reveal_value``."""

    thing_template = "admin/django_etcdaero/key.html"
    pages = (
        Page(name="deleted", method="deleted_page", permission="view_key", of_thing=False),
        Page(name="versions", method="versions_page", permission="view_key"),
        Page(name="compare", method="compare_page", permission="view_key"),
        Page(name="new", method="new_page", permission="change_key", of_thing=False, acts=True),
        Page(name="edit", method="edit_page", permission="change_key", acts=True),
        Page(name="remove", method="remove_page", permission="delete_key", acts=True),
        Page(name="restore", method="restore_page", permission="change_key", acts=True),
    )

    class Media:
        css = {"all": ["django_etcdaero/keys.css"]}
        js = ["django_etcdaero/keys.js"]

    # reading ---------------------------------------------------------------------------------------------------------

    def read(self, request: HttpRequest) -> Found:
        raise NotImplementedError("keys are read level by level")

    def read_one(self, request: HttpRequest, pk: str) -> Found:
        """Read a key. One that is not there is a thing too: it has a history."""
        parts = split_pk(pk)
        if parts is None:
            return Found(things=[])
        alias, key = parts
        wanted = Wanted.of(request, alias=alias)
        answers = ask_aliases(
            lambda alias, stores: look_at_key(
                alias, stores, key, revision=wanted.revision, moment=wanted.moment, timeout=DEADLINE
            ),
            timeout=DEADLINE,
            aliases=[alias],
        )
        things = [self.thing_of(seen) for seen in answers.by_alias.values()]
        return Found(things=things, problems=answers.problems)

    def thing_of(self, seen: SeenKey) -> Key:
        """Return the thing that stands for a key."""
        thing = Key(pk=f"{seen.alias}/{key_text(seen.key)}")
        thing.value = seen
        return thing

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tell whether the visitor has ``view_key``: to Django whoever may change may also view."""
        allowed: bool = request.user.has_perm(f"{self.opts.app_label}.view_key")
        return allowed

    def reveals(self, request: HttpRequest) -> bool:
        """Tell whether the visitor may see values."""
        return self.permits(request, "reveal_value")

    # pages -----------------------------------------------------------------------------------------------------------

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show a level of the tree, or what a search has found."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        wanted = Wanted.of(request)
        context = tree_context(self, wanted)
        title = gettext("Keys")
        return self.show(
            request,
            "admin/django_etcdaero/keys.html",
            title=title,
            may_add=self.permits(request, "change_key"),
            **{**context, **(extra_context or {})},
        )

    def status_of(self, thing: Any) -> int:
        """Return 404 for a key that is not there; its page tells what it was before."""
        seen: SeenKey = thing.value
        return 200 if seen.kv or seen.then else 404

    def thing_context(self, request: HttpRequest, thing: Any) -> dict[str, Any]:
        seen: SeenKey = thing.value
        wanted = Wanted.of(request, alias=seen.alias)
        shown = as_text(seen.then, reveal=self.reveals(request), form=request.GET.get("form"))
        return {
            "seen": seen,
            "key": key_text(seen.key),
            "wanted": wanted,
            "mistakes": wanted.mistakes,
            "shown": shown,
            "why_protected": why_protected(seen),
            "snippets": snippets(seen),
            "acts": self.tools(request, thing),
            "versions_address": self.address_of(thing, "versions"),
        }

    def tools(self, request: HttpRequest, thing: Any) -> list[dict[str, Any]]:
        """Return what can be done to a key, for the buttons of its page."""
        seen: SeenKey = thing.value
        found = [{"label": _("Versions"), "address": self.address_of(thing, "versions"), "danger": False}]
        if seen.protected is None and seen.kv is not None:
            if self.permits(request, "change_key"):
                found.insert(0, {"label": _("Edit"), "address": self.address_of(thing, "edit"), "danger": False})
            if self.permits(request, "delete_key"):
                found.append({"label": _("Delete"), "address": self.address_of(thing, "remove"), "danger": True})
        return found

    def deleted_page(self, request: HttpRequest) -> HttpResponse:
        """Show the keys that were deleted and can still be read."""
        context = deleted_context(self, Wanted.of(request))
        return self.show(
            request,
            "admin/django_etcdaero/keys_deleted.html",
            title=gettext("Deleted keys"),
            may_restore=self.permits(request, "change_key"),
            **context,
        )

    def versions_page(self, request: HttpRequest, thing: Any) -> HttpResponse:
        """Show what a key was before."""
        context = versions_context(self, request, thing)
        return self.show(
            request,
            "admin/django_etcdaero/key_versions.html",
            title=gettext("Versions"),
            thing=thing,
            may_restore=self.permits(request, "change_key") and thing.value.protected is None,
            **context,
        )

    def compare_page(self, request: HttpRequest, thing: Any) -> HttpResponse:
        """Show two versions of a key beside each other."""
        context = compare_context(self, request, thing)
        return self.show(
            request, "admin/django_etcdaero/key_compare.html", title=gettext("Comparison"), thing=thing, **context
        )

    # acts ------------------------------------------------------------------------------------------------------------

    def new_page(self, request: HttpRequest) -> HttpResponse:
        """Ask for a key and a value, and create the key."""
        return write(self, request, None)

    def edit_page(self, request: HttpRequest, thing: Any) -> HttpResponse:
        """Ask for another value, show the difference, and write it."""
        return write(self, request, thing)

    def remove_page(self, request: HttpRequest, thing: Any) -> HttpResponse:
        """Ask whether to delete a key, and delete it."""
        return remove(self, request, thing)

    def restore_page(self, request: HttpRequest, thing: Any) -> HttpResponse:
        """Ask whether to write an earlier value once more, and write it."""
        return restore(self, request, thing)
