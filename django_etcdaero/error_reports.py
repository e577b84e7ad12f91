"""Passwords in URLs, hidden on Django's debug pages and in its error mails, whatever the settings and variables are."""

from __future__ import annotations

import re
from types import FrameType
from typing import Any

from django.http import HttpRequest
from django.template.defaultfilters import pprint
from django.views.debug import SafeExceptionReporterFilter

_USER_INFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s'\"<>]*@")


def hidden(text: str) -> str:
    """Return ``text`` with ``***`` for all before the last ``@`` in each URL, rather too much than too little."""
    return _USER_INFO.sub(r"\1***@", text)


class PasswordFilter(SafeExceptionReporterFilter):
    """``DEFAULT_EXCEPTION_REPORTER_FILTER = "django_etcdaero.error_reports.PasswordFilter"``.

    It hides what Django hides, and user and password of every URL in settings, in the environment that a server passes
    on with the request, and in local variables, of other packages too.
    """

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        """Return what is shown of a setting, of an item in one, or of the environment."""
        cleansed = super().cleanse_setting(key, value)
        if isinstance(cleansed, str) and type(cleansed).__repr__ is str.__repr__:
            return hidden(cleansed)
        return cleansed

    def get_traceback_frame_variables(self, request: HttpRequest | None, tb_frame: FrameType) -> Any:
        """Return what is shown of the local variables."""
        variables = super().get_traceback_frame_variables(request, tb_frame)
        return [(name, _Shown(value)) for name, value in variables]


class _Shown:
    """A value as it may be shown: Django makes text of it by its ``repr``."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __repr__(self) -> str:
        return hidden(pprint(self._value))
