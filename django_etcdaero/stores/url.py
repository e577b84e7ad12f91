"""URLs of stores as text: taking one apart, and hiding what must not be shown of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, parse_qsl, unquote

from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.system.shown import shown_name

if TYPE_CHECKING:
    from .credentials import Credentials, Tls
    from .endpoint import Endpoint

TLS_FILES: Final = ("ca", "cert", "key")
"""Options that name files; relative ones start from ``BASE_DIR``."""

# RFC 3986, appendix B. ``urlsplit`` of recent Pythons takes no IPv6 address after the first of several hosts.
_URL = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?(?://(?P<netloc>[^/?#]*))?(?P<path>[^?#]*)"
    r"(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?"
)
_USER_INFO = re.compile(r"^(?:([A-Za-z][A-Za-z0-9+.-]*://))?.*@", re.DOTALL)
_QUERY_ITEM = re.compile(r"([A-Za-z_]{1,20}=)?[^&;]+")


def split(url: str) -> SplitResult:
    """Take any text on one line apart; the scheme in lower case."""
    match = _URL.fullmatch(url)
    assert match is not None  # it matches any text on one line
    found = match.groupdict(default="")
    return SplitResult(**found | {"scheme": found["scheme"].lower()})


def mask(url: str) -> str:
    """Return ``url`` with ``***`` for user and password, all query values and the fragment.

    Made for text that may be no valid URL, so it rather hides too much: passwords with an unescaped ``/``, ``?`` or
    ``#`` and misspelled names of secret options stay hidden too.
    """
    masked = _USER_INFO.sub(lambda match: f"{match[1] or ''}***@", url)
    masked, fragment, _ = masked.partition("#")
    masked, question, query = masked.partition("?")
    query = _QUERY_ITEM.sub(lambda match: f"{match[1] or ''}***", query)
    return f"{masked}{question}{query}{fragment}{fragment and '***'}"


# --- of servers; each raises ``ConfigurationError`` without quoting the URL ------------------------------------------


def read_servers(parts: SplitResult, *, port: int) -> tuple[tuple[Endpoint, ...], Credentials | None]:
    """Read ``user:password@host:port,host:port``; user and password are written percent-encoded."""
    from .credentials import Credentials  # here: a start without servers does not need them
    from .endpoint import parse_endpoint

    if parts.fragment:
        raise ConfigurationError("it has no part after '#' (in a password write %23)")
    given, _, hosts = parts.netloc.rpartition("@")
    user, colon, password = given.partition(":")
    if given and not (user and colon):
        raise ConfigurationError("credentials are written user:password@")
    endpoints = tuple(parse_endpoint(text, default_port=port) for text in hosts.split(","))
    return endpoints, Credentials(unquote(user), unquote(password)) if given else None


def read_options(parts: SplitResult, known: Sequence[str]) -> dict[str, str]:
    """Read ``?name=value&name=value``, each name at most once and with a value."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise ConfigurationError(f"unknown option {shown_name(name)}; known: {', '.join(known)}")
        if not value or name in found:
            raise ConfigurationError(f"the option {name!r} is given once, with a value")
        found[name] = value
    return found


def read_tls(options: dict[str, str], base_dir: Path | None, *, encrypted: bool) -> Tls | None:
    """Make the options of an encrypted connection a value; for one that is not there must be none."""
    from .credentials import Tls

    if not encrypted:
        if options:
            raise ConfigurationError("certificates are for the encrypted schemes (with an 's' before '://')")
        return None
    if ("cert" in options) != ("key" in options):
        raise ConfigurationError("the options 'cert' and 'key' are given together")
    start = base_dir or Path()
    return Tls(**{name: str(start / value) if name in TLS_FILES else value for name, value in options.items()})
