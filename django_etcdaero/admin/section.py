"""What pages and acts need of the section that they belong to."""

from __future__ import annotations

from typing import Any, Protocol

from django.http import HttpRequest, HttpResponse


class Section(Protocol):
    """A section of the admin (:class:`.inspected.InspectedAdmin`)."""

    def permits(self, request: HttpRequest, codename: str) -> bool:
        """Tell whether the visitor may."""

    def found(self, request: HttpRequest, object_id: str) -> Any:
        """Return the thing at an address, or the answer that says that it is not there."""

    def address(self, name: str = "changelist", *args: str) -> str:
        """Return the address of a page of the section."""

    def address_of(self, thing: Any, name: str = "change") -> str:
        """Return the address of a page of a thing."""

    def show(
        self, request: HttpRequest, template: str, *, title: Any, thing: Any = None, status: int = 200, **context: Any
    ) -> HttpResponse:
        """Return a page."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Write an entry of the log."""

    def message_user(self, request: HttpRequest, message: Any, level: Any) -> Any:
        """Tell the visitor with the next page."""
