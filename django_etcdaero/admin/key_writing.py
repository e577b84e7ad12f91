"""Adding and editing a key: a form, then the difference and a button to save, then a write that compares.

It is written only if its mod revision is still the one that the visitor has seen (0: if it does not exist). Who lost
the race sees what they saw, what is there and what they wrote, and may save over what is there.
"""

from __future__ import annotations

from typing import Any

from django.contrib.admin.utils import quote
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext

from django_etcdaero.exceptions import Compacted, EtcdAeroError, FutureRevision
from django_etcdaero.inspection.aliases import ask_aliases
from django_etcdaero.inspection.key_access import SeenKey, key_client, look_at_key
from django_etcdaero.inspection.key_changes import Changed, write_if
from django_etcdaero.inspection.key_text import key_bytes, key_text
from django_etcdaero.inspection.value_difference import difference
from django_etcdaero.keyvalue.values import KeyValue
from django_etcdaero.runtime import runtime

from .deadline import DEADLINE, ActFailed, do, left
from .key_asking import Wanted
from .key_forms import NewKeyForm, ValueForm, initial_value
from .key_pages import LONGEST_LINKED, KeySection, read_version
from .key_words import as_text, why_protected

TEMPLATE = "admin/django_etcdaero/key_edit.html"


def write(section: KeySection, request: HttpRequest, thing: Any) -> HttpResponse:
    """Answer the page on which a key is edited, or added if ``thing`` is ``None``."""
    reveal = section.reveals(request)
    adding = thing is None
    alias = Wanted.of(request).alias if adding else thing.value.alias
    if request.method != "POST":
        return _form(section, request, thing, alias, _empty(request, thing, reveal), reveal)
    form = NewKeyForm(request.POST) if adding else ValueForm(request.POST)
    if not form.is_valid() or "back" in request.POST:
        return _form(section, request, thing, alias, form, reveal)
    data = form.cleaned_data
    key = key_bytes(data["key"]) if adding else thing.value.key
    answers = ask_aliases(
        lambda alias, stores: look_at_key(alias, stores, key, timeout=DEADLINE), timeout=DEADLINE, aliases=[alias]
    )
    now = answers.by_alias.get(alias)
    if now is None:
        form.add_error(None, gettext("The store does not answer; nothing was changed."))
        return _form(section, request, thing, alias, form, reveal, status=503, problems=answers.problems)
    refused = why_protected(now)
    if refused:
        form.add_error(None, refused)
        return _form(section, request, thing, alias, form, reveal, status=409)
    target = section.thing_of(now)
    if "save" not in request.POST:
        there = now.kv.mod_revision if now.kv is not None else 0
        if there != data["seen"]:
            return _conflict(section, request, target, form, now.kv, reveal)
        return _preview(section, request, target, form, now.kv, reveal)
    return _save(section, request, target, form, reveal, adding=adding)


def _empty(request: HttpRequest, thing: Any, reveal: bool) -> ValueForm:
    if thing is None:
        under = Wanted.of(request).under
        return NewKeyForm(initial={"key": key_text(under), "form": "text", "seen": 0})
    kv: KeyValue | None = thing.value.kv
    initial: dict[str, Any] = {"form": "text", "seen": 0 if kv is None else kv.mod_revision}
    if kv is not None and reveal:
        initial |= initial_value(kv.value) or {}
    return ValueForm(initial=initial)


def _form(
    section: KeySection,
    request: HttpRequest,
    thing: Any,
    alias: str,
    form: ValueForm,
    reveal: bool,
    status: int = 200,
    **context: Any,
) -> HttpResponse:
    seen: SeenKey | None = None if thing is None else thing.value
    kv = None if seen is None else seen.kv
    return section.show(
        request,
        TEMPLATE,
        title=gettext("Add key") if thing is None else gettext("Edit"),
        thing=thing,
        status=status,
        step="form",
        form=form,
        alias=alias,
        refused="" if seen is None else why_protected(seen),
        missing=seen is not None and kv is None,
        hidden=kv is not None and not reveal,
        too_large=kv is not None and reveal and initial_value(kv.value) is None,
        acts=[],
        back=section.address() if thing is None else section.address_of(thing),
        **context,
    )


def _preview(
    section: KeySection, request: HttpRequest, thing: Any, form: ValueForm, there: KeyValue | None, reveal: bool
) -> HttpResponse:
    value: bytes = form.cleaned_data["bytes"]
    compared = difference(there.value, value) if there is not None and reveal else None
    return _second(
        section,
        request,
        thing,
        form,
        step="preview",
        title=gettext("Save?"),
        difference=compared,
        yours=as_text(KeyValue(b"", value, 0, 0, 0, 0), reveal=True),
        there=there,
        reveal=reveal,
    )


def _conflict(
    section: KeySection, request: HttpRequest, thing: Any, form: ValueForm, there: KeyValue | None, reveal: bool
) -> HttpResponse:
    """Show what was seen, what is there, and what was to be written."""
    data = form.cleaned_data
    seen: KeyValue | None = None
    unreadable = ""
    if data["seen"] and reveal:
        try:
            seen = read_version(thing.value.alias, thing.value.key, data["seen"])
        except (Compacted, FutureRevision, EtcdAeroError) as error:
            unreadable = str(error)
    value: bytes = data["bytes"]
    return _second(
        section,
        request,
        thing,
        form,
        status=409,
        step="conflict",
        title=gettext("Changed meanwhile"),
        difference=difference(there.value, value) if there is not None and reveal else None,
        seen_revision=data["seen"],
        seen_text=as_text(seen, reveal=reveal),
        unreadable=unreadable,
        there=there,
        there_text=as_text(there, reveal=reveal),
        yours=as_text(KeyValue(b"", value, 0, 0, 0, 0), reveal=True),
        reveal=reveal,
        now_seen=0 if there is None else there.mod_revision,
    )


def _second(
    section: KeySection, request: HttpRequest, thing: Any, form: ValueForm, *, status: int = 200, **context: Any
) -> HttpResponse:
    back = section.address_of(thing) if thing.value.kv is not None else section.address()
    return section.show(request, TEMPLATE, thing=thing, status=status, form=form, acts=[], back=back, **context)


def _save(
    section: KeySection, request: HttpRequest, thing: Any, form: ValueForm, reveal: bool, *, adding: bool
) -> HttpResponse:
    data, seen = form.cleaned_data, thing.value

    def save() -> Changed:
        kv = key_client(seen.alias, runtime.stores(seen.alias))
        return write_if(kv, seen.key, data["bytes"], seen=data["seen"], timeout=DEADLINE)

    try:
        changed = do(f"{gettext('Save')}, {thing}", save, timeout=left(request))
    except ActFailed as failed:
        section.log_change(request, thing, gettext("Saving failed: %s") % failed)
        form.add_error(None, str(failed))
        status = 503 if failed.unknown else 409
        return _form(section, request, None if adding else thing, seen.alias, form, reveal, status=status)
    if not changed.done:
        return _conflict(section, request, thing, form, changed.there, reveal)
    names = {"before": data["seen"], "after": changed.revision}
    words = (
        gettext("Changed: revision %(before)d became %(after)d.")
        if data["seen"]
        else gettext("Added with revision %(after)d.")
    ) % names
    section.log_change(request, thing, " ".join(filter(None, (words, data["comment"]))))
    section.message_user(request, words, "SUCCESS")
    if len(seen.key) > LONGEST_LINKED:
        return HttpResponseRedirect(section.address() + Wanted(alias=seen.alias).query())
    return HttpResponseRedirect(section.address("change", quote(thing.pk)))
