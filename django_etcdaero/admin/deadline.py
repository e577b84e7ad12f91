"""The time of a page: what it reads and what it does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from django.http import HttpRequest
from django.utils import translation
from django.utils.translation import gettext

from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, EtcdAeroError, OutcomeUnknown
from django_etcdaero.inspection.together import together
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Flag

from .ahead import import_clients

DEADLINE = 3.0
"""Seconds that a page waits for the stores. What has not answered by then is shown as a problem."""
LEAST = 1.0
"""Seconds for an act, where reading what it is about has taken long."""

T = TypeVar("T")
_log = logging.getLogger("django_etcdaero.admin")


class ActFailed(Exception):
    """What was to be done was not done, or it is not known whether it was."""

    def __init__(self, told: str, *, unknown: bool) -> None:
        super().__init__(told)
        self.unknown = unknown


def begin(request: HttpRequest) -> None:
    """Note when a page began."""
    import_clients()
    vars(request)["etcdaero_began"] = monotonic()


def left(request: HttpRequest) -> float:
    """Return the seconds that a page has for what it does."""
    now = monotonic()
    began: float = vars(request).get("etcdaero_began", now)
    return max(LEAST, DEADLINE - (now - began))


def do(what: str, perform: Callable[[], T], *, timeout: float) -> T:
    """Do something within a time; return what ``perform`` returns. Raises ``ActFailed``, and nothing of the stores.

    Stores have deadlines of their own, but some acts are several calls. What is not over in time goes on in its thread,
    and the log of this process tells how it ended.
    """
    language, late = translation.get_language(), Flag()

    def act() -> T:
        with translation.override(language):
            try:
                done = perform()
            except Exception as error:
                if late.is_set():
                    _log.warning("%s ended after its page had been answered: %r", what, error)
                raise
        if late.is_set():
            _log.warning("%s was done after its page had been answered: %s", what, done)
        return done

    answer = together({"done": act}, timeout=timeout)["done"]
    if not isinstance(answer, Exception):
        return answer
    if not isinstance(answer, EtcdAeroError):
        raise answer
    late.set()
    unknown = isinstance(answer, DeadlineExceeded | OutcomeUnknown | ClusterError)
    told = f"{type(answer).__name__}: {answer}"
    if unknown:
        told += f" {gettext('It may have been done, or be done yet: look before you repeat it.')}"
    raise ActFailed(told, unknown=unknown)
