"""Caches: what they do, a look at single entries, and what makes entries go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero.inspection import caches
from django_etcdaero.inspection.cache_values import is_pickle, show_entry
from django_etcdaero.inspection.caches import CacheState, Looked
from django_etcdaero.inspection.localized import count, size
from django_etcdaero.management.cache_words import scope_of_clear, scope_of_invalidation, state_of_entry

from ..models import Cache
from .acts import Act, ConfirmForm, confirm, name_form
from .deadline import DEADLINE
from .inspected import Found, InspectedAdmin, Page
from .mistakes import mistakes_of
from .problems import problems_of

COUNTED = {
    "hits": _("reads that found an entry"),
    "near_hits": _("of these without a call to the store"),
    "stale_hits": _("answers with an expired value"),
    "misses": _("reads that found none"),
    "sets": _("entries written"),
    "deletes": _("entries deleted"),
    "loads": _("values made by get_or_set()"),
    "load_errors": _("failures to make one"),
    "waits": _("waits for the load of another"),
    "errors": _("calls that failed at the store"),
    "ignored": _("calls not made while it was away"),
    "unreadable": _("entries that could not be read"),
    "too_big": _("values too large to be stored"),
}
BYTES = {"bytes_read": _("read from the store"), "bytes_written": _("written to it")}
"""Counts of :class:`~django_etcdaero.cache.counters.Counters` in words, in the order in which they are shown."""


class KeyForm(ConfirmForm):
    """Names an entry."""

    key = forms.CharField(label=_("Key"), max_length=32_768, strip=False)
    version = forms.IntegerField(label=_("Version"), required=False, help_text=_("That of the cache if left empty."))


class TagForm(ConfirmForm):
    """Names a tag."""

    tag = forms.CharField(label=_("Tag"), max_length=1000, strip=False)


def _clear(request: HttpRequest, thing: Cache, data: Mapping[str, Any]) -> str:
    caches.clear(thing.pk)
    return gettext("The cache was cleared: %s") % " ".join(scope_of_clear(thing.value)[:2])


class CacheAdmin(InspectedAdmin):
    """The caches of the settings that this package keeps."""

    list_display = ("name", "place", "key_prefix", "entries", "stored", "hit_share", "store_state")
    search_fields = ("pk", "location")
    thing_template = "admin/django_etcdaero/cache.html"
    acts = (
        Act(
            name="clear",
            label=_("Clear the cache"),
            permission="clear_cache",
            question=lambda thing: " ".join(scope_of_clear(thing.value)),
            form=lambda thing: name_form(thing.pk),
            perform=_clear,
            offered=lambda thing: thing.value.settings is not None,
            danger=True,
        ),
    )
    pages = (
        Page(name="delete-entry", method="delete_entry", permission="delete_entry", acts=True),
        Page(name="invalidate-tag", method="invalidate_tag", permission="delete_entry", acts=True),
    )

    class Media:
        css: ClassVar[dict[str, list[str]]] = {"all": ["django_etcdaero/admin.css", "django_etcdaero/caches.css"]}

    def read(self, request: HttpRequest) -> Found:
        return _found(caches.read_caches(DEADLINE))

    def read_one(self, request: HttpRequest, pk: str) -> Found:
        return _found(caches.read_caches(DEADLINE, [pk] if pk in caches.aliases() else []))

    def thing_context(self, request: HttpRequest, thing: Any) -> dict[str, Any]:
        state: CacheState = thing.value
        form = KeyForm(request.GET) if "key" in request.GET else KeyForm()
        context: dict[str, Any] = {
            "form": form,
            "mistakes": mistakes_of(form) if form.is_bound else [],
            "tag_form": TagForm(auto_id="tag_%s"),
            "counts": [(label, state.counts.get(name, 0)) for name, label in COUNTED.items()],
            "bytes": [(label, state.counts.get(name, 0)) for name, label in BYTES.items()],
            "may_delete": self.permits(request, "delete_entry"),
            "delete_address": self.address_of(thing, "delete-entry"),
            "invalidate_address": self.address_of(thing, "invalidate-tag"),
        }
        if form.is_bound and form.is_valid() and state.settings is not None:
            looked = self._look(request, thing, form.cleaned_data)
            problems = [*problems_of(request)]
            if looked.problem is not None and not problems:
                problems.append(looked.problem)
            context |= {"problems": problems, "looked": looked, **self._entry_context(request, looked, form)}
        return context

    def _look(self, request: HttpRequest, thing: Any, named: Mapping[str, Any]) -> Looked:
        problems = problems_of(request)
        if problems:
            return Looked(None, problems[0])  # it is not waited for again
        return caches.look_up(thing.pk, named["key"], named["version"], timeout=DEADLINE)

    def _entry_context(self, request: HttpRequest, looked: Looked, form: forms.Form) -> dict[str, Any]:
        named = {name: value for name, value in form.cleaned_data.items() if value is not None}
        may_reveal = self.permits(request, "reveal_entry")
        entry = looked.entry
        return {
            "entry": entry,
            "state": None if entry is None else state_of_entry(entry),
            "may_reveal": may_reveal,
            "value": show_entry(entry) if entry is not None and may_reveal else None,
            "pickled": entry is not None and is_pickle(entry),
            "named": named,
            "query": urlencode(named),
        }

    # acts on something that is named in the address -----------------------------------------------------------------

    def delete_entry(self, request: HttpRequest, thing: Any) -> HttpResponse:
        """Ask about an entry that was looked up, and delete it."""
        named = KeyForm(request.GET) if "key" in request.GET else None
        context: dict[str, Any] = {"mistakes": [] if named is None else mistakes_of(named)}
        question = gettext("An entry of the cache “%s” is deleted. Which one?") % thing
        initial: dict[str, Any] = {}
        if named is not None and named.is_valid():
            initial = named.cleaned_data
            looked = self._look(request, thing, initial)
            context = self._entry_context(request, looked, named)
            question = self._deletion(thing, looked, initial)

        def perform(data: Mapping[str, Any]) -> str:
            deleted = caches.delete(thing.pk, data["key"], data["version"])
            text = gettext("The entry “%(key)s” was deleted.") if deleted else gettext("There was no entry “%(key)s”.")
            version = gettext(" Version %s.") % data["version"] if data["version"] is not None else ""
            return text % data + version

        return confirm(
            self,
            request,
            thing,
            title=gettext("Delete an entry"),
            question=question,
            form_class=_hidden(KeyForm) if initial else KeyForm,
            initial=initial,
            perform=perform,
            offered=thing.value.settings is not None,
            danger=True,
            template="admin/django_etcdaero/cache_deletion.html",
            context=context,
        )

    def _deletion(self, thing: Any, looked: Looked, named: Mapping[str, Any]) -> str:
        version = thing.value.settings.version if named["version"] is None else named["version"]
        words = {"key": named["key"], "version": version, "cache": str(thing)}
        if looked.entry is None:
            text = gettext("There is no entry “%(key)s” of version %(version)s in the cache “%(cache)s” now.")
            return text % words
        text = gettext(
            "The entry “%(key)s” of version %(version)s in the cache “%(cache)s” is deleted. A load of it that is"
            " under way is not kept."
        )
        return text % words

    def invalidate_tag(self, request: HttpRequest, thing: Any) -> HttpResponse:
        """Ask about a tag, and let no entry with it count any more."""
        tag = request.GET.get("tag", "")
        question = gettext("Entries of the cache “%s” with a tag are forgotten. Which tag?") % thing
        if tag:
            question = scope_of_invalidation(thing.value, (tag,))

        def perform(data: Mapping[str, Any]) -> str:
            caches.invalidate(thing.pk, data["tag"])
            return gettext("The tag “%(tag)s” was invalidated.") % data

        return confirm(
            self,
            request,
            thing,
            title=gettext("Invalidate a tag"),
            question=question,
            form_class=_hidden(TagForm) if tag else TagForm,
            initial={"tag": tag},
            perform=perform,
            offered=thing.value.settings is not None,
            danger=True,
        )

    # the list --------------------------------------------------------------------------------------------------------

    @admin.display(description=_("cache"), ordering="pk")
    def name(self, thing: Any) -> str:
        """Return the alias."""
        return str(thing.pk)

    @admin.display(description=_("place"), ordering="location")
    def place(self, thing: Any) -> str:
        """Return where the entries are."""
        return str(thing.value.location)

    @admin.display(description=_("key prefix"), empty_value="-")
    def key_prefix(self, thing: Any) -> str | None:
        """Return what begins all keys."""
        return None if thing.value.settings is None else thing.value.settings.key_prefix or None

    @admin.display(description=_("entries"), ordering="entries")
    def entries(self, thing: Any) -> str:
        """Return how many there are, about."""
        return gettext("not known") if thing.value.entries is None else count(thing.value.entries)

    @admin.display(description=_("whole store"))
    def stored(self, thing: Any) -> str:
        """Return how much is in the store, whoever's it is."""
        fill = thing.value.fill
        if fill.records is None:
            return gettext("not known")
        records = ngettext("%s record", "%s records", fill.records) % count(fill.records)
        return records if fill.size is None else f"{records}, {size(fill.size)}"

    @admin.display(description=_("hits of this process"), ordering="hit_share", empty_value="-")
    def hit_share(self, thing: Any) -> str | None:
        """Return which share of gets found something."""
        share = thing.value.hit_share
        return None if share is None else gettext("%(share).0f %% of %(reads)s") % {
            "share": share * 100, "reads": count(thing.value.reads)
        }  # fmt: skip

    @admin.display(description=_("store"))
    def store_state(self, thing: Any) -> str:
        """Return whether it answers."""
        if thing.value.settings is None:
            return gettext("wrong settings")
        return gettext("away") if thing.value.away is not None or thing.silent else gettext("answers")


def _found(read: caches.Found) -> Found:
    things = []
    silent = {problem.alias for problem in read.problems}
    for each in read.caches:
        thing = Cache(pk=each.alias)
        thing.value = each
        thing.silent = each.alias in silent  # type: ignore[attr-defined]
        things.append(thing)
    return Found(things=things, problems=read.problems)


def _hidden(form: type[ConfirmForm]) -> type[ConfirmForm]:
    """Return the form for what stands in the question: nothing is left to be typed."""

    def hide(made: ConfirmForm, *args: Any, **options: Any) -> None:
        form.__init__(made, *args, **options)
        for field in made.fields.values():
            field.widget = forms.HiddenInput()

    return type(f"Hidden{form.__name__}", (form,), {"__init__": hide})
