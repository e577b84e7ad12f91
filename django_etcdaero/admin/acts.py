"""What staff can do: each act has a permission of its own, is asked about first, and is logged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .deadline import ActFailed, begin, do, left
from .problems import problems_of
from .section import Section

_NONE: Mapping[str, Any] = {}


class ConfirmForm(forms.Form):
    """Nothing to fill in: the button is the answer."""

    required_css_class = "required"


class ReasonForm(ConfirmForm):
    """Asks why, for those who wonder later."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=1000,
        help_text=_("Kept with it, and in the history."),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )


def name_form(name: str, *, base: type[ConfirmForm] = ConfirmForm) -> type[ConfirmForm]:
    """Return a form that wants ``name`` to be typed: for acts that harm if they hit the wrong thing."""

    def clean_name(form: ConfirmForm) -> str:
        typed: str = form.cleaned_data["name"]
        if typed != name:
            raise forms.ValidationError(gettext("This is not the name."))
        return typed

    label = format_lazy(_("Type {name} to confirm"), name=name)
    field = forms.CharField(
        label=label, strip=False, widget=forms.TextInput(attrs={"autocomplete": "off", "class": "vTextField"})
    )
    return type("NameForm", (base,), {"name": field, "clean_name": clean_name})


@dataclass(frozen=True, kw_only=True)
class Act:
    """Something that can be done to a thing.

    A GET of its page asks, and changes nothing; a POST does it. Both need the permission.
    """

    name: str
    """Ends the address of the page."""
    label: Any
    """Of the button."""
    permission: str
    """Codename."""
    question: Callable[[Any], str]
    """What exactly will happen to the thing, in words."""
    perform: Callable[[HttpRequest, Any, Mapping[str, Any]], str]
    """Do it to the thing, with what the form says; return what was done, in words. Raises ``EtcdAeroError``."""
    form: Callable[[Any], type[ConfirmForm]] = lambda thing: ConfirmForm
    initial: Callable[[Any], Mapping[str, Any]] = lambda thing: _NONE
    offered: Callable[[Any], bool] = lambda thing: True
    """Whether the thing is in a state in which it makes sense. The page says so if not, and does nothing."""
    danger: bool = False
    """Whether the button looks like that for deleting."""
    goes_to: Callable[[Section, Any], str] = lambda section, thing: section.address_of(thing)
    """Where the visitor goes when it is done: to the page of the thing, unless that may be gone."""

    def view(self, page: Section) -> Callable[[HttpRequest, str], HttpResponse]:
        """Return the view for the pages of a section."""

        def view(request: HttpRequest, object_id: str) -> HttpResponse:
            if not page.permits(request, self.permission):
                raise PermissionDenied
            begin(request)
            thing = page.found(request, object_id)
            if isinstance(thing, HttpResponse):
                return thing
            return confirm(
                page,
                request,
                thing,
                title=self.label,
                question=self.question(thing),
                form_class=self.form(thing),
                initial=self.initial(thing),
                offered=self.offered(thing),
                danger=self.danger,
                perform=lambda data: self.perform(request, thing, data),
                then=lambda: self.goes_to(page, thing),
            )

        return view


def confirm(
    page: Section,
    request: HttpRequest,
    thing: Any,
    *,
    title: Any,
    question: Any,
    perform: Callable[[Mapping[str, Any]], str],
    form_class: type[forms.Form] = ConfirmForm,
    initial: Mapping[str, Any] = _NONE,
    offered: bool = True,
    danger: bool = False,
    then: Callable[[], str] | None = None,
    template: str = "admin/django_etcdaero/confirm.html",
    context: Mapping[str, Any] = _NONE,
) -> HttpResponse:
    """Ask about something by GET, do it by POST, log it for ``thing``, and go to ``then()`` (its page by default).

    The caller has checked the permission. ``perform`` gets what the form says, and returns in words what was done; an
    ``EtcdAeroError`` of it is shown and logged. It runs in a thread, for what is left of the time of the page.
    """
    form = form_class(request.POST if request.method == "POST" else None, initial=dict(initial))
    status = 503 if request.method == "POST" and not offered and problems_of(request) else 200
    if request.method == "POST" and offered and form.is_valid():
        try:
            done = do(f"{title}, {thing}", lambda: perform(form.cleaned_data), timeout=left(request))
        except ActFailed as failed:
            page.log_change(request, thing, gettext("%(act)s failed: %(error)s") % {"act": title, "error": failed})
            form.add_error(None, str(failed))
            status = 503 if failed.unknown else 409
        else:
            page.log_change(request, thing, done)
            page.message_user(request, done, "SUCCESS")
            return HttpResponseRedirect(page.address_of(thing) if then is None else then())
    shown = {
        "form": form,
        "question": question,
        "offered": offered,
        "danger": danger,
        "back": page.address_of(thing),
        **context,
    }
    return page.show(request, template, title=title, thing=thing, status=status, **shown)
