"""The ``OPTIONS`` of an alias: their types, ranges and defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import Final, Literal, NamedTuple, get_args

from .exceptions import ConfigurationError
from .system.shown import shown

Start = Literal["auto", "always", "lazy", "off"]
RefreshInRunserver = Literal["auto", "off"]
AdminKeys = Literal["prefix", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``OPTIONS`` of an alias, complete. Making one raises ``ConfigurationError`` for a value that is not allowed."""

    START: Start = "auto"
    """When a process starts to read datasets: ``auto`` (at once where the process is known to serve, else at the first
    use), ``always`` (at once everywhere), ``lazy`` (at the first use everywhere), ``off`` (never by itself)."""
    POLL_INTERVAL: float = 30.0
    """Seconds between two looks at the current version that do not rely on the watch; 0.05 to 3600."""
    LOCK_TTL: int = 10
    """Seconds after which the lock of a dead refresher is free; 2 (etcd's least) to 3600."""
    SESSION_TTL: int = 30
    """Seconds after which a dead process is no longer listed; 2 to 3600."""
    CALL_TIMEOUT: float = 5.0
    """Seconds that one call to a store may take; 0.05 to 300."""
    GARBAGE_TTL: int = 24 * 3600
    """Seconds that the rows of replaced versions stay in the record store; 3600 to 2592000. No process may take longer
    to load a version, and no refresh to store one."""
    NEWEST_FORMAT: Literal[2, 4] = 4
    """The newest form in which versions are stored: 4, where all processes can read it; 2 for going back to older code,
    which has to be published before that code starts."""
    SPLAY: float = 2.0
    """Longest random delay in seconds before a large version is fetched; 0 to 300."""
    SHARED_DIR: str = field(default=".etcdaero/shared", repr=False)  # somebody may have written a password there
    """Directory of the files that the processes of a host share (``shared = True``): on a local disk, or in memory;
    relative to ``BASE_DIR``."""
    TEMPORARY_DIR: str = field(default="", repr=False)
    """Directory in which a load of many rows keeps them until they are published; relative to ``BASE_DIR``. Empty:
    where the system has its temporary files."""
    REFRESH_IN_RUNSERVER: RefreshInRunserver = "auto"
    """Whether ``runserver`` refreshes the datasets itself: ``auto`` (under ``DEBUG``), ``off``."""
    ADMIN_KEYS: AdminKeys = "prefix"
    """Which keys the admin pages show and change: those below ``PREFIX`` (``prefix``), or ``all`` of the store."""

    def __post_init__(self) -> None:
        for name in OPTION_NAMES:
            value = getattr(self, name)
            wrong = complaint(name, value)
            if wrong is not None:
                raise ConfigurationError(f"{name} {wrong}")
            if name in _DIRECTORIES:
                object.__setattr__(self, name, os.fspath(value))
            if name in _RANGES and not _RANGES[name].whole:
                object.__setattr__(self, name, float(value))


class _Range(NamedTuple):
    least: float
    most: float
    whole: bool


_RANGES: Final = {
    "POLL_INTERVAL": _Range(0.05, 3600, whole=False),
    "LOCK_TTL": _Range(2, 3600, whole=True),
    "SESSION_TTL": _Range(2, 3600, whole=True),
    "CALL_TIMEOUT": _Range(0.05, 300, whole=False),
    "GARBAGE_TTL": _Range(3600, 30 * 24 * 3600, whole=True),
    "SPLAY": _Range(0, 300, whole=False),
}
_CHOICES: Final[dict[str, tuple[object, ...]]] = {
    "START": get_args(Start),
    "REFRESH_IN_RUNSERVER": get_args(RefreshInRunserver),
    "ADMIN_KEYS": get_args(AdminKeys),
    "NEWEST_FORMAT": (2, 4),
}
_DIRECTORIES: Final = ("SHARED_DIR", "TEMPORARY_DIR")
READER_OPTIONS: Final = ("START", "POLL_INTERVAL", "SESSION_TTL", "SPLAY", "REFRESH_IN_RUNSERVER")
"""What concerns the process, which has one reader and one service: the alias ``default`` says it for all."""
OPTION_NAMES: Final = tuple(field.name for field in fields(Options))
"""The names of the options."""


def complaint(name: str, value: object) -> str | None:
    """Return what is wrong with ``value`` for the option ``name`` (one of :data:`OPTION_NAMES`), or ``None``."""
    if name in _CHOICES:
        allowed = ", ".join(map(repr, _CHOICES[name]))
        return None if value in _CHOICES[name] else f"must be one of {allowed}, not {_shown(value)}"
    if name in _DIRECTORIES:
        path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
        # A URL, maybe with a password, was meant for another setting.
        ok = isinstance(path, str) and "\0" not in path and "://" not in path
        if ok and (path or name == "TEMPORARY_DIR"):
            return None
        return f"must be a str or a Path, of a directory, not {_shown(value)}"
    least, most, whole = _RANGES[name]
    if isinstance(value, int if whole else int | float) and not isinstance(value, bool) and least <= value <= most:
        return None
    return f"must be a {'whole ' if whole else ''}number of seconds from {least} to {most}, not {_shown(value)}"


def _shown(value: object) -> str:
    told = shown(value)
    return f"{told} ({type(value).__name__})" if told == repr(value) else told
