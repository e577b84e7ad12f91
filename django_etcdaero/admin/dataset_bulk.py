"""Asking for a refresh of several datasets at once, from the list."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext, ngettext

from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.inspection.together import together
from django_etcdaero.system.conditions import Flag

from .acts import ReasonForm
from .dataset_acts import REFRESH, ask_for_refresh
from .deadline import left
from .section import Section


class SeveralForm(ReasonForm):
    """Asks why, and keeps what the list has sent."""

    action = forms.CharField(widget=forms.HiddenInput)
    confirmed = forms.CharField(widget=forms.HiddenInput)
    _selected_action = forms.CharField(widget=forms.MultipleHiddenInput, required=False)


def refresh_several(page: Section, request: HttpRequest, things: list[Any]) -> HttpResponse | None:
    """Ask about it, or do it if that was answered; ``None``: the list is shown again."""
    names = [str(each.pk) for each in things]
    confirmed = "confirmed" in request.POST
    form = SeveralForm(
        request.POST if confirmed else None,
        initial={"action": "refresh_several", "confirmed": "yes", "_selected_action": names},
    )
    if confirmed and form.is_valid():
        _ask_for_all(page, request, things, form.cleaned_data)
        return None
    question = ngettext(
        "Whoever refreshes this dataset is asked for a new load: %(names)s.",
        "Whoever refreshes these datasets is asked for new loads: %(names)s.",
        len(names),
    ) % {"names": ", ".join(names)}
    answer: HttpResponse = page.show(
        request,
        "admin/django_etcdaero/confirm.html",
        title=REFRESH.label,
        form=form,
        question=question,
        offered=True,
        back=page.address(),
    )
    return answer


def _ask_for_all(page: Section, request: HttpRequest, things: list[Any], data: dict[str, Any]) -> None:
    asked, failed, over = dict[str, str](), dict[str, str](), Flag()

    def ask() -> None:
        for thing in things:
            name = str(thing.pk)
            if over.is_set():
                return
            failed[name] = gettext("no answer; it may have been asked for")
            try:
                asked[name] = ask_for_refresh(thing, data)
            except EtcdAeroError as error:
                failed[name] = f"{type(error).__name__}: {error}"

    together({"all": ask}, timeout=left(request))
    over.set()
    done, undone = dict(asked), dict(failed)
    for thing in things:
        name = str(thing.pk)
        if name in done:
            told = done[name]
            undone.pop(name, None)
        else:
            undone.setdefault(name, gettext("not asked for: the time was over"))
            told = gettext("%(act)s failed: %(error)s") % {"act": REFRESH.label, "error": undone[name]}
        page.log_change(request, thing, told)
    if done:
        words = ngettext(
            "A refresh of %(count)d dataset was asked for.", "A refresh of %(count)d datasets was asked for.", len(done)
        )
        page.message_user(request, words % {"count": len(done)}, messages.SUCCESS)
    for name, reason in list(undone.items())[:10]:
        page.message_user(request, f"“{name}”: {reason}", messages.ERROR)
