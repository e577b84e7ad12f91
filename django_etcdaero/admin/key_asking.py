"""What the address of a page of keys asks for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlencode

from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero import conf
from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.inspection.key_text import key_bytes, key_text

from .mistakes import brief, number_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An alias, a place in the tree or the beginning of a search, and as of when. What makes no sense is left out."""

    alias: str
    under: bytes = b""
    start: bytes = b""
    """Where the page begins."""
    search: bytes | None = None
    """``None``: nothing is searched for, the tree is shown."""
    revision: int = 0
    """As of which revision; 0: now."""
    time: str = ""
    """As of when, as it was written."""
    moment: float | None = None
    """The same in seconds since the epoch; ``None``: not asked for, or not to be understood."""
    mistakes: tuple[str, ...] = ()
    """What could not be understood."""

    @classmethod
    def of(cls, request: HttpRequest, *, alias: str | None = None) -> Self:
        """Read it from the address of a page; ``alias``: of a page that says by itself which one it is."""
        given, mistakes = request.GET, list[str]()
        keys: dict[str, bytes] = {}
        for name, label in (("under", _("folder")), ("start", _("beginning")), ("q", _("search"))):
            try:
                keys[name] = key_bytes(given.get(name, ""))
            except InvalidRequest as error:
                keys[name] = b""
                mistakes.append(f"{label}: {error}")
        revision = number_of(given.get("revision", ""), _("Revision"), mistakes)
        time = given.get("time", "").strip()[:40]
        moment, mistake = moment_of(time)
        if mistake:
            mistakes.append(mistake)
        known = conf.aliases()
        chosen = alias or given.get("alias", "")
        if chosen and chosen not in known:
            mistakes.append(gettext("There is no alias “%s”.") % brief(chosen))
        return cls(
            alias=chosen if chosen in known else next(iter(known), conf.DEFAULT_ALIAS),
            under=keys["under"],
            start=keys["start"],
            search=keys["q"] or None,
            revision=revision,
            time=time,
            moment=moment if not revision else None,
            mistakes=tuple(mistakes),
        )

    def query(self, **other: object) -> str:
        """Return the query of the address of the same page, but for what is given."""
        changed = dataclasses.replace(self, **other)  # type: ignore[arg-type]
        said = {
            "alias": changed.alias,
            "under": key_text(changed.under),
            "start": key_text(changed.start),
            "q": key_text(changed.search or b""),
            "revision": changed.revision or "",
            "time": "" if changed.revision else changed.time,
        }
        return "?" + urlencode({name: value for name, value in said.items() if value})

    @property
    def search_text(self) -> str:
        return key_text(self.search or b"")

    @property
    def under_text(self) -> str:
        return key_text(self.under)


def moment_of(text: str) -> tuple[float | None, str]:
    """Return when a text is, in seconds since the epoch, and what is wrong with it.

    A time of the clock that was there twice is the first of the two, which is told; one that was left out is none.
    """
    try:
        found = parse_datetime(text) if text else None
        if found is None:
            return None, gettext("“%s” is no date with a time, as 2030-12-31 23:59.") % text if text else ""
        if not timezone.is_naive(found):
            return found.timestamp(), ""
        first, second = (timezone.make_aware(found.replace(fold=fold)) for fold in (0, 1))
        moment, later = first.timestamp(), second.timestamp()
    except (ValueError, OverflowError):
        return None, gettext("“%s” is too long ago, too far away, or no time.") % text
    if later < moment:
        return None, gettext("“%s” was left out when clocks were put forward.") % text
    if later > moment:
        words = gettext("“%(time)s” was there twice: this is the first one. The second one is %(second)s.")
        return moment, words % {"time": text, "second": second.isoformat(" ")}
    return moment, ""
