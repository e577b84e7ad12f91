"""``settings.ETCDAERO_HEALTH``, read and checked: what the views of :mod:`django_etcdaero.contrib.health` go by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, get_args

from django.conf import settings

from . import conf
from .datasets.registry import datasets
from .system.shown import shown, shown_name

Deep = Literal["staff", "all", "off"]
_LONGEST: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """``ETCDAERO_HEALTH``, complete."""

    REQUIRED: tuple[str, ...] | None = None
    """Names of the datasets without which a process is unfit; ``None``: those that say ``required`` themselves, as they
    do unless told otherwise."""
    DEEP: Deep = "staff"
    """Who may have the stores asked with ``?deep=1``: ``staff`` (users with ``is_staff``), ``all``, ``off``."""
    DEEP_TIMEOUT: float = 3.0
    """Seconds that this may take; above 0."""
    STUCK_AFTER: float = 300.0
    """Seconds after which a reader thread that does not come round makes a process count as dead; above 0."""


NAMES: Final = tuple(each.name for each in fields(HealthSettings))
"""The keys of the setting."""


def read() -> HealthSettings:
    """Return the setting; what is wrong in it has its default, and is told by check ``E010``."""
    given = _given()
    if not isinstance(given, Mapping):
        return HealthSettings()
    values = {name: given[name] for name in NAMES if name in given and _complaint(name, given[name]) is None}
    if values.get("REQUIRED") is not None:
        values["REQUIRED"] = tuple(values["REQUIRED"])
    return HealthSettings(**values)


def problems() -> Iterator[str]:
    """Yield what is wrong."""
    given = _given()
    if not isinstance(given, Mapping):
        yield f"ETCDAERO_HEALTH must be a dict, not {type(given).__name__}"
        return
    for name, value in given.items():
        if name not in NAMES:
            yield f"ETCDAERO_HEALTH has the unknown key {shown_name(name)}{conf.suggestion(name, NAMES)}"
        elif wrong := _complaint(name, value):
            yield f"ETCDAERO_HEALTH[{name!r}] {wrong}"
        elif name == "REQUIRED" and value is not None:
            for each in value:
                if each not in datasets:
                    yield f"ETCDAERO_HEALTH['REQUIRED']: no such dataset: {shown_name(each)}" + conf.suggestion(
                        each, sorted(datasets)
                    )


def _given() -> Any:
    return getattr(settings, "ETCDAERO_HEALTH", {})


def _complaint(name: str, value: object) -> str | None:
    if name == "REQUIRED":
        good = value is None or (isinstance(value, list | tuple | set) and all(isinstance(each, str) for each in value))
        return None if good else f"must be a list of names of datasets, or None, not {shown(value)}"
    if name == "DEEP":
        allowed = ", ".join(map(repr, get_args(Deep)))
        return None if value in get_args(Deep) else f"must be one of {allowed}, not {shown(value)}"
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LONGEST
    return None if good else f"must be a number of seconds above 0 and at most {_LONGEST}, not {shown(value)}"
