"""``settings.ETCDAERO``, read, checked and given its defaults: the only module that reads Django's settings.

Each key of an alias may be left out. For the alias ``default`` the environment is asked next (``ETCDAERO_KV``,
``ETCDAERO_RECORDS``, ``ETCDAERO_PREFIX``), for all aliases the end is a pair of SQLite files under
``BASE_DIR/.etcdaero/``, so that a fresh project works. Everything wrong is collected as a :class:`Problem`: the system
checks report them all, and :func:`get` raises the first that concerns its alias. Passwords are in no message.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import environ
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import Signal

from . import schemes
from .exceptions import ConfigurationError
from .options import OPTION_NAMES, Options, complaint
from .secret import Secret
from .stores.address import Address, Plane
from .stores.credentials import Credentials
from .system.shown import shown, shown_name

if TYPE_CHECKING:
    from .keyvalue.engine import Engine
    from .records.store import RecordStore

DEFAULT_ALIAS: Final = "default"
DEFAULT_PREFIX: Final = "etcdaero"

_ALIAS = re.compile(r"[A-Za-z0-9_.-]+")
_IN_ALIASES = "letters, digits, '_', '.' and '-'"
_PREFIX = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
# A record's key has at most 1,024 bytes; this leaves the larger part of it to what comes after the prefix.
_MAX_PREFIX = 200
_MAX_PROJECT = 100
_CREDENTIALS = ("KV_USER", "KV_PASSWORD", "RECORDS_USER", "RECORDS_PASSWORD")
_KEYS = ("KV", "RECORDS", "PREFIX", "OPTIONS", "PROJECT", *_CREDENTIALS)

changed = Signal()
"""Sent after the settings were changed by ``override_settings`` and what was parsed of the old ones is forgotten.

Who holds anything made from an :class:`AliasSettings` connects here to drop it; ``sender`` is ``None``.
"""


class SettingsError(ImproperlyConfigured, ConfigurationError):
    """Something in ``settings.ETCDAERO`` is wrong; the message names the setting and what is allowed."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in the settings."""

    alias: str | None = field(repr=False)
    """The alias it concerns; ``None``: all of them. Not shown: the message names it, unless it may hold a password."""
    key: str | None
    """``"KV"``, ``"RECORDS"``, ``"PREFIX"``, ``"PROJECT"`` or ``"OPTIONS"``; ``None``: the structure around them."""
    message: str


@dataclass(frozen=True, slots=True)
class AliasSettings:
    """What ``settings.ETCDAERO`` says of one alias, complete and checked."""

    alias: str
    kv: Address
    records: Address
    prefix: str
    """Begins every key, record and lock of this alias; without a slash at either end."""
    options: Options
    project: str = ""
    """Name of the project; empty: it has none."""


def get(alias: str = DEFAULT_ALIAS) -> AliasSettings:
    """Return the settings of ``alias``. Raises :class:`SettingsError` when they are wrong or there is no such alias."""
    parsed = _parsed()
    if alias in parsed.by_alias:
        return parsed.by_alias[alias]
    for problem in parsed.problems:
        if problem.alias in (alias, None):
            raise SettingsError(problem.message)
    raise SettingsError(f"ETCDAERO has no alias {shown_name(alias)}{suggestion(alias, parsed.aliases)}")


def aliases() -> tuple[str, ...]:
    """Return the aliases in the order of the settings, those with wrong settings included."""
    return _parsed().aliases


def problems() -> tuple[Problem, ...]:
    """Return everything that is wrong in the settings."""
    return _parsed().problems


def package() -> str:
    """Return the package that the project's URLs are in; empty when they are in none."""
    urls = getattr(settings, "ROOT_URLCONF", None)
    return urls.partition(".")[0] if isinstance(urls, str) and "." in urls else ""


def urls_with_password() -> tuple[str, ...]:
    """Return where in the settings, or the environment, there is a URL with a password that is shown with it."""
    return _parsed().with_password


def open_engine(used: AliasSettings) -> Engine:
    """Open the key-value engine of an alias. Raises what the engine raises when it cannot be opened."""
    return schemes.open_engine(used.kv, timeout=used.options.CALL_TIMEOUT)


def open_store(used: AliasSettings, *, engine: Engine | None = None) -> RecordStore:
    """Open the record store of an alias, over its open ``engine`` if both are on the same servers.

    Raises what the store raises when it cannot be opened.
    """
    beside = None if engine is None else (used.kv, engine)
    return schemes.open_store(used.records, timeout=used.options.CALL_TIMEOUT, beside=beside)


def shared_dir(used: AliasSettings) -> str:
    """Return the directory of the files that the processes of a host share."""
    return str(((base_dir() or Path()) / used.options.SHARED_DIR).absolute())


def temporary_dir(used: AliasSettings) -> str:
    """Return the directory of what a load keeps on disk; empty: where the system has its temporary files."""
    named = used.options.TEMPORARY_DIR
    return str(((base_dir() or Path()) / named).absolute()) if named else ""


def suggestion(wrong: object, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: what was probably meant, or what there is."""
    names = {name.lower(): name for name in known if _ALIAS.fullmatch(name)}
    close = difflib.get_close_matches(str(wrong).lower(), names, n=1)
    return f"; did you mean {names[close[0]]!r}?" if close else f"; known: {', '.join(names.values()) or 'none'}"


class _Parsed(NamedTuple):
    aliases: tuple[str, ...]
    by_alias: dict[str, AliasSettings]
    problems: tuple[Problem, ...]
    with_password: tuple[str, ...] = ()


@functools.cache
def _parsed() -> _Parsed:
    configured = getattr(settings, "ETCDAERO", {})
    if not isinstance(configured, Mapping):
        message = f"ETCDAERO must be a dict of aliases, not {type(configured).__name__}"
        return _Parsed((), {}, (Problem(None, None, message),))
    configured = configured or {DEFAULT_ALIAS: {}}
    found: list[Problem] = []
    with_password: list[str] = []
    by_alias = {}
    if DEFAULT_ALIAS not in configured:
        found.append(Problem(DEFAULT_ALIAS, None, f"ETCDAERO must have the alias {DEFAULT_ALIAS!r}"))
    for alias, entries in configured.items():
        reader = _AliasReader(alias, entries)
        parsed = reader.read()
        if parsed is not None:
            by_alias[alias] = parsed
        found += reader.problems
        with_password += reader.with_password
    return _Parsed(tuple(str(alias) for alias in configured), by_alias, tuple(found), tuple(with_password))


class _AliasReader:
    """Reads one alias and collects what is wrong on the way."""

    def __init__(self, alias: object, entries: object) -> None:
        self.alias = str(alias)
        self.path = f'ETCDAERO["{self.alias}"]'
        self.problems: list[Problem] = []
        self.with_password: list[str] = []
        """Where a URL has a password in it."""
        self.entries: Mapping[Any, Any] = {}
        if not isinstance(alias, str) or not _ALIAS.fullmatch(alias):
            self._problem(None, f"ETCDAERO: the alias {shown_name(alias)} is not a str of {_IN_ALIASES}")
        elif not isinstance(entries, Mapping):
            self._problem(None, f"{self.path} must be a dict, not {type(entries).__name__}")
        else:
            self.entries = entries

    def read(self) -> AliasSettings | None:
        if self.problems:
            return None
        for key in self.entries:
            if key not in _KEYS:
                self._problem(None, f"{self.path} has the unknown key {shown_name(key)}{suggestion(key, _KEYS)}")
        kv = self._address(Plane.KV)
        records = self._address(Plane.RECORDS)
        prefix = self._prefix(kv, records)
        project = self._project()
        options = self._options()
        if self.problems or kv is None or records is None or options is None:
            return None
        return AliasSettings(self.alias, kv, records.of_alias(prefix), prefix, options, project)

    def _problem(self, key: str | None, message: str) -> None:
        self.problems.append(Problem(self.alias, key, message))

    def _entry(self, key: str) -> tuple[object, str] | None:
        """Return the value of ``key`` and where it comes from, or ``None`` when it is nowhere."""
        name = f"ETCDAERO_{key}"
        if key in self.entries:
            return self.entries[key], f'{self.path}["{key}"]'
        if self.alias == DEFAULT_ALIAS and name in os.environ:
            # django-environ follows "$OTHER"; when OTHER is not set, that is an error and not the embedded default.
            return environ.Env().str(name, default=""), f"the environment variable {name}"
        return None

    def _address(self, plane: Plane) -> Address | None:
        # Each alias has files of its own: two that are left to their defaults must not get into each other's way.
        stem = "" if self.alias == DEFAULT_ALIAS else f"{self.alias}-"
        default = f"sqlite:///.etcdaero/{stem}{plane.value.lower()}.sqlite3"
        url, origin = self._entry(plane.value) or (default, f'{self.path}["{plane.value}"]')
        try:
            address = schemes.parse(url, plane=plane, base_dir=base_dir())
        except ConfigurationError as error:
            self._problem(plane.value, f"{origin} {error}")
            return None
        if address.credentials_given and not isinstance(url, Secret):
            self.with_password.append(origin)
        return self._with_credentials(plane, address, origin)

    def _with_credentials(self, plane: Plane, address: Address, origin: str) -> Address | None:
        """Return ``address`` with the user and the password that stand in settings of their own, if they do."""
        given = [self._entry(f"{plane.value}_{what}") for what in ("USER", "PASSWORD")]
        if given == [None, None]:
            return address
        user, password = (None if each is None else each[0] for each in given)
        path = f'{self.path}["{plane.value}_USER"] and ["{plane.value}_PASSWORD"]'
        if not (isinstance(user, str) and isinstance(password, str) and user and password):
            self._problem(plane.value, f"{path} must both be given, each a str that is not empty")
        elif address.credentials_given:
            self._problem(plane.value, f"{path} are given, and {origin} has credentials too: write them once")
        else:
            try:
                return address.with_credentials(Credentials(user, password))
            except ConfigurationError as error:
                self._problem(plane.value, f"{path}: {error}")
        return None

    def _prefix(self, *used: Address | None) -> str:
        entry = self._entry("PREFIX")
        if entry is None:
            shared = next((address for address in used if address is not None and address.prefix_required), None)
            if shared is not None:
                self._problem("PREFIX", f'{self.path}["PREFIX"] is required, because {shared.safe} can be shared')
            return DEFAULT_PREFIX
        prefix, origin = entry
        if not isinstance(prefix, str):
            self._problem("PREFIX", f"{origin} must be a str, not {type(prefix).__name__}")
            return DEFAULT_PREFIX
        if not _PREFIX.fullmatch(prefix) or len(prefix) > _MAX_PREFIX:
            allowed = f"1 to {_MAX_PREFIX} letters, digits, '_', '.' and '-', with single slashes only between them"
            self._problem("PREFIX", f"{origin} must be a str of {allowed}, not {shown(prefix)}")
        return prefix

    def _project(self) -> str:
        given = self.entries.get("PROJECT", "")
        if isinstance(given, str) and len(given) <= _MAX_PROJECT and given.isprintable():
            return given
        allowed = f"a str of at most {_MAX_PROJECT} printable characters"
        message = f'{self.path}["PROJECT"] must be {allowed}, not {shown(given)}'
        self._problem("PROJECT", message)
        return ""

    def _options(self) -> Options | None:
        path = f'{self.path}["OPTIONS"]'
        given = self.entries.get("OPTIONS", {})
        if not isinstance(given, Mapping):
            self._problem("OPTIONS", f"{path} must be a dict, not {type(given).__name__}")
            return None
        complaints = []
        for name, value in given.items():
            if name not in OPTION_NAMES:
                complaints.append(f"{path} has the unknown key {shown_name(name)}{suggestion(name, OPTION_NAMES)}")
            elif wrong := complaint(name, value):
                complaints.append(f'{path}["{name}"] {wrong}')
        for message in complaints:
            self._problem("OPTIONS", message)
        return None if complaints else Options(**given)


def base_dir() -> Path | None:
    """Return ``settings.BASE_DIR``, from which relative paths of files start, or ``None`` if it is not set."""
    found = getattr(settings, "BASE_DIR", None)
    return Path(found).absolute() if isinstance(found, str | os.PathLike) else None


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting in {"ETCDAERO", "BASE_DIR"}:
        _parsed.cache_clear()
        changed.send(sender=None)


setting_changed.connect(_forget, dispatch_uid="django_etcdaero.conf")
