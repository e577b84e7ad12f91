"""What all sections of the admin have in common: things that are in no table, read within a deadline."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext

from django_etcdaero import conf
from django_etcdaero.inspection.problem import Problem

from .acts import Act
from .deadline import begin
from .mistakes import brief
from .problems import keep_problems, problems_of
from .rows import Rows

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:  # generic in the type stubs only
    _ModelAdmin = admin.ModelAdmin

_log = logging.getLogger("django_etcdaero.admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was read for a page."""

    things: list[Any]
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A further page of a thing, or of the whole section."""

    name: str
    """Ends the address."""
    method: str
    """Of the section: takes the request, and the thing if the page is of one."""
    permission: str
    of_thing: bool = True
    acts: bool = False
    """Whether a POST to it does something."""


class InspectedAdmin(_ModelAdmin):
    """A section: a list of things, a page for each, and what can be done to them. Subclasses read and show."""

    acts: ClassVar[tuple[Act, ...]] = ()
    pages: ClassVar[tuple[Page, ...]] = ()
    actions: Any = None
    list_per_page = 100
    list_max_show_all = 1000
    change_list_template = "admin/django_etcdaero/change_list.html"
    thing_template = "admin/django_etcdaero/thing.html"
    view_on_site = False

    class Media:
        css: ClassVar[dict[str, list[str]]] = {"all": ["django_etcdaero/admin.css"]}

    def read(self, request: HttpRequest) -> Found:
        """Read the things of the section, within :data:`.deadline.DEADLINE`. Raises nothing of the stores."""
        raise NotImplementedError

    def read_one(self, request: HttpRequest, pk: str) -> Found:
        """Read one thing; by default it is looked up among all."""
        found = self.read(request)
        return Found(things=[each for each in found.things if each.pk == pk], problems=found.problems)

    def thing_context(self, request: HttpRequest, thing: Any) -> dict[str, Any]:
        """Return what the page of a thing shows."""
        return {}

    def status_of(self, thing: Any) -> int:
        """Return the status of the page of a thing: a section may show those that are not there, too."""
        return 200

    def get_list_display(self, request: HttpRequest) -> Any:
        """Return the columns; the alias is one where there are several."""
        several = len(conf.aliases()) > 1
        return [each for each in self.list_display if several or each != "alias"]

    # permissions -----------------------------------------------------------------------------------------------------

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def permits(self, request: HttpRequest, codename: str) -> bool:
        """Tell whether the visitor has a permission of this app and may see the section at all."""
        allowed: bool = request.user.has_perm(f"{self.opts.app_label}.{codename}")
        return allowed and self.has_view_permission(request)

    # addresses -------------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """Return the addresses of acts and further pages before those that Django makes."""
        views: list[tuple[str, str, Callable[..., HttpResponse]]] = [
            (f"<path:object_id>/{act.name}/", act.name, act.view(self)) for act in self.acts
        ]
        for page in self.pages:
            begin = "<path:object_id>/" if page.of_thing else ""
            views.append((f"{begin}{page.name}/", page.name, self._page_view(page)))
        own = [
            path(route, self.admin_site.admin_view(view), name=self._address_name(name)) for route, name, view in views
        ]
        return [*own, *super().get_urls()]

    def _address_name(self, name: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{name}"

    def _page_view(self, page: Page) -> Callable[..., HttpResponse]:
        def view(request: HttpRequest, object_id: str | None = None) -> HttpResponse:
            if not self.permits(request, page.permission):
                raise PermissionDenied
            begin(request)
            method: Callable[..., HttpResponse] = getattr(self, page.method)
            if object_id is None:
                return method(request)
            thing = self.found(request, object_id)
            return thing if isinstance(thing, HttpResponse) else method(request, thing)

        return view

    def acting_names(self) -> set[str]:
        """Return the names of the pages on which a POST does something."""
        return {each.name for each in self.acts} | {each.name for each in self.pages if each.acts}

    def address_of(self, thing: Any, name: str = "change") -> str:
        """Return the address of the page of a thing, or of one of its further pages and acts."""
        return self.address(name, quote(thing.pk))

    def address(self, name: str = "changelist", *args: str) -> str:
        """Return the address of a page of the section."""
        return reverse(f"admin:{self._address_name(name)}", args=args, current_app=self.admin_site.name)

    # what Django's views ask -----------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> Any:
        found = self.read(request)
        keep_problems(request, found.problems)
        return Rows(self.model, found.things)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        return queryset.search(search_term, self.search_fields), False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        if getattr(request, "etcdaero_only_name", False):
            return self.model(pk=object_id)
        found = self.read_one(request, object_id)
        keep_problems(request, found.problems)
        return found.things[0] if found.things else None

    def found(self, request: HttpRequest, object_id: str) -> Any:
        """Return the thing at an address, or an answer that says that it is not there."""
        thing = self.get_object(request, unquote(object_id))
        if thing is not None:
            return thing
        problems = problems_of(request)
        title = str(self.opts.verbose_name)
        return self.show(
            request,
            "admin/django_etcdaero/missing.html",
            title=title,
            missing=unquote(object_id),
            status=503 if problems else 404,
        )

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Note what Django would answer with a flag in the address, or as if the database were broken."""
        try:
            return super().get_changelist_instance(request)
        except IncorrectLookupParameters:
            request.etcdaero_misled = True  # type: ignore[attr-defined]
            raise

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list, whatever is down."""
        begin(request)
        title = str(self.opts.verbose_name_plural).capitalize()
        response = super().changelist_view(request, {"title": title, **(extra_context or {})})
        if getattr(request, "etcdaero_misled", False) and request.GET:
            asked = brief(", ".join(f"{name}={text}" for name, text in request.GET.items()))
            self.message_user(request, gettext("There is no such part of the list: %s") % asked, "WARNING")
            return HttpResponseRedirect(request.path)
        if isinstance(response, TemplateResponse) and response.context_data is not None:
            response.context_data["problems"] = problems_of(request)
        return response

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show a thing. Nothing is changed here: a POST is answered as a GET."""
        if object_id is None or not self.has_view_permission(request):
            raise PermissionDenied
        begin(request)
        thing = self.found(request, object_id)
        if isinstance(thing, HttpResponse):
            return thing
        context = self.thing_context(request, thing)
        status = self.status_of(thing)
        return self.show(request, self.thing_template, title=str(thing), thing=thing, status=status, **context)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show what the log has of a thing, also if it is gone or its store is away: the log is in the database."""
        request.etcdaero_only_name = True  # type: ignore[attr-defined] # for get_object()
        return super().history_view(request, object_id, extra_context)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Write an entry of the log. What was done is done: if the database fails, that is told instead of raised."""
        try:
            with transaction.atomic(using=router.db_for_write(LogEntry)):
                return super().log_change(request, obj, message)
        except DatabaseError:
            _log.exception("not in the log of the admin: %s, %s: %s", request.user.get_username(), obj, message)
            self.message_user(request, gettext("This could not be written to the log of the admin."), "WARNING")
            return None

    # showing ---------------------------------------------------------------------------------------------------------

    def show(
        self, request: HttpRequest, template: str, *, title: Any, thing: Any = None, status: int = 200, **context: Any
    ) -> TemplateResponse:
        """Return a page of the section."""
        request.current_app = self.admin_site.name
        problems = context.pop("problems", None) or problems_of(request)
        offered = [] if thing is None else [each for each in self.acts if self.permits(request, each.permission)]
        shown = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": title,
            "thing": thing,
            "thing_address": None if thing is None else self.address_of(thing),
            "history_address": None if thing is None else self.address_of(thing, "history"),
            "acts": [
                {"label": each.label, "address": self.address_of(thing, each.name), "danger": each.danger}
                for each in offered
                if each.offered(thing)
            ],
            "list_address": self.address(),
            "problems": problems,
            **context,
        }
        return TemplateResponse(request, template, shown, status=status)
