"""What is wrong with an entry of ``CACHES``, found without a look at files or network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from django.core.cache.backends.base import BaseCache

from django_etcdaero import conf
from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.system.shown import shown_name

from . import options
from .place import address_of
from .reading import encoded

MAX_PREFIX: Final = 500
"""Bytes of the longest ``KEY_PREFIX``."""


def faults(location: object, params: Mapping[str, Any]) -> Iterator[str]:
    """Yield all that is wrong, as text that names it."""
    given = params.get("OPTIONS") or {}
    of_options = list(options.faults(given))
    yield from of_options
    yield from _told(lambda: _read_by_django({**params, "OPTIONS": given if isinstance(given, Mapping) else {}}))
    prefix = str(params.get("KEY_PREFIX", ""))
    if (size := len(encoded(prefix))) > MAX_PREFIX:
        yield f"KEY_PREFIX has {size} bytes, allowed are {MAX_PREFIX}"
    yield from _told(lambda: address_of(location))
    if not of_options and given.get("NEAR") is not None:
        yield from _told(lambda: conf.get(options.read(given).USING))  # not first by the thread that sends


def _told(call: Callable[[], object]) -> Iterator[str]:
    try:
        call()
    except ConfigurationError as error:
        yield str(error)


def _read_by_django(params: dict[str, Any]) -> None:
    try:
        BaseCache(params)
    except OverflowError:
        raise ConfigurationError("TIMEOUT, MAX_ENTRIES or CULL_FREQUENCY is no number") from None
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        text = "KEY_FUNCTION must be a function or its path"
        given = params.get("KEY_FUNCTION")
        why = f": {error}" if shown_name(given) == repr(given) else ""
        raise ConfigurationError(f"{text}, not {shown_name(given)}{why}") from None
