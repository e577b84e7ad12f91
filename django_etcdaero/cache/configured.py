"""The entries of ``settings.CACHES`` that this package keeps."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.cache import caches
from django.utils.module_loading import import_string

from django_etcdaero.exceptions import ConfigurationError

if TYPE_CHECKING:
    from .inside import Inside


def ours() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield alias and settings of each."""
    for alias, params in settings.CACHES.items():
        try:
            backend = import_string(params["BACKEND"])
        except (ImportError, KeyError, TypeError):
            continue  # Django says it
        # A class that is one of ours has imported it; a project with the admin need not have a cache of ours.
        own = sys.modules.get(f"{__package__}.backend")
        if own is not None and isinstance(backend, type) and issubclass(backend, own.EtcdAeroCache):
            yield alias, params


def inside(alias: str) -> Inside:
    """Return a cache as those see it who look after it.

    Raises ``ConfigurationError`` if there is none of this package by that name, and for what is wrong in its settings.
    """
    from .backend import EtcdAeroCache  # here: see ours()
    from .inside import Inside

    for name, params in ours():
        if name == alias:
            cache = caches[alias]
            if isinstance(cache, EtcdAeroCache):
                return Inside(alias, cache, str(params.get("LOCATION", "")))
    known = ", ".join(name for name, _ in ours()) or "none"
    raise ConfigurationError(f"CACHES has no cache {alias!r} that django_etcdaero keeps; there are: {known}")


def keeps_sessions(alias: str) -> bool:
    """Tell whether the sessions of the project's users are in this cache and nowhere else."""
    alone = settings.SESSION_ENGINE == "django.contrib.sessions.backends.cache"
    return alone and alias == settings.SESSION_CACHE_ALIAS
