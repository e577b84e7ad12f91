"""``CACHES[alias]["OPTIONS"]``, read and checked."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from django.utils.module_loading import import_string

from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.records.arguments import MAX_TTL
from django_etcdaero.system.shown import shown, shown_name

from . import compressors, serializers

DJANGO_OPTIONS: Final = frozenset({"MAX_ENTRIES", "CULL_FREQUENCY"})
"""Those that Django's own base class reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NearOptions:
    """``OPTIONS["NEAR"]``: the bounds of what a process holds of the cache in its own memory."""

    max_entries: int = 10_000
    max_bytes: int = 16 * 1024 * 1024
    """Encoded values, their keys, and about what Python needs besides."""
    max_age: float = 30.0
    """Seconds after which an entry is asked for again, should no notice of a change have come in."""


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """The options of one cache. Times are in seconds, sizes in bytes."""

    USING: str = "default"
    """The alias of ``ETCDAERO`` whose KV store holds the locks and the notices of near caches."""
    SERIALIZER: Any = "pickle"
    COMPRESSOR: str | None = None
    COMPRESS_MIN_LENGTH: int = 1024
    COMPRESS_LEVEL: int | None = None
    MAX_VALUE_BYTES: int = 16 * 1024 * 1024
    """Largest value as it is stored: serialized and, where that is chosen, compressed (eight times as large before).
    What does not fit into one record is kept in several."""
    CALL_TIMEOUT: float = 5.0
    """What one call to the store may take."""
    JITTER: float = 0.0
    """Share of its timeout by which an entry may expire earlier, at random, so that not all expire together."""
    STALE: float = 0.0
    """For how long ``get_or_set`` may use an entry that has expired when loading fails or takes long."""
    STALE_RETRY: float = 30.0
    """For how long the stale value stands in after loading has failed, before it is tried again."""
    LOAD_TIMEOUT: float = 30.0
    """After which a load counts as dead, so that another process may load."""
    LOAD_WAIT: float = 10.0
    """For how long ``get_or_set`` waits for the load of another process before it loads itself."""
    STAMP_MAX_AGE: float = 1.0
    """After which time at most other processes see that the cache was cleared or a tag was invalidated."""
    SWEEP_INTERVAL: float = 3600.0
    """How often processes look, in turn, for entries of before a ``clear()``; 0: never."""
    IGNORE_EXCEPTIONS: bool = False
    """Treat a store that is away as an empty one, instead of raising."""
    RETRY_INTERVAL: float = 5.0
    """With ``IGNORE_EXCEPTIONS``: for how long a store that was away is not asked again."""
    REVERSE_KEY_FUNCTION: Any = None
    NEAR: NearOptions | None = None
    """Hold entries in the memory of each process as well; given as a dict of what :class:`NearOptions` has."""


NAMES: Final = tuple(field.name for field in fields(CacheOptions))


def _number(least: float, most: float = math.inf, *, whole: bool = False) -> Callable[[object], str | None]:
    def complaint(value: object) -> str | None:
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
            kind = "a whole number" if whole else "a number"
            return f"must be {kind} of at least {least:g}" + (f", at most {most:g}" if most < math.inf else "")
        return None

    return complaint


_CHECKS: Final[Mapping[str, Callable[[object], str | None]]] = {
    "COMPRESS_MIN_LENGTH": _number(0, whole=True),
    "MAX_VALUE_BYTES": _number(1024, 1024**3, whole=True),
    "CALL_TIMEOUT": _number(0.01, 600),
    "JITTER": _number(0, 0.9),
    "STALE": _number(0),
    "STALE_RETRY": _number(0.1, MAX_TTL),
    "LOAD_TIMEOUT": _number(1, 86400),
    "LOAD_WAIT": _number(0, 600),
    "STAMP_MAX_AGE": _number(0, 3600),
    "SWEEP_INTERVAL": _number(0, MAX_TTL),
    "RETRY_INTERVAL": _number(0.01, 3600),
}


_NEAR_CHECKS: Final[Mapping[str, Callable[[object], str | None]]] = {
    "max_entries": _number(1, 10_000_000, whole=True),
    "max_bytes": _number(1024, 64 * 1024**3, whole=True),
    "max_age": _number(0.01, 86400),
}


def _near(given: object) -> NearOptions | None:
    if given is None or isinstance(given, NearOptions):
        return given
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"OPTIONS['NEAR'] must be a dict, not {type(given).__name__}")
    for name, value in given.items():
        if name not in _NEAR_CHECKS:
            raise ConfigurationError(
                f"OPTIONS['NEAR'] has the unknown key {shown_name(name)}; there are {', '.join(_NEAR_CHECKS)}"
            )
        if wrong := _NEAR_CHECKS[name](value):
            raise ConfigurationError(f"OPTIONS['NEAR'][{name!r}] {wrong}, not {shown(value)}")
    return NearOptions(**given)


def faults(given: object) -> Iterator[str]:
    """Yield all that is wrong with the options of a cache, naming the option."""
    if not isinstance(given, Mapping):
        yield f"OPTIONS must be a dict, not {type(given).__name__}"
        return
    for name, value in given.items():
        if name in DJANGO_OPTIONS:
            continue
        if name not in NAMES:
            close = difflib.get_close_matches(str(name), NAMES, n=1)
            known = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(NAMES)}"
            yield f"OPTIONS has the unknown key {shown_name(name)}; {known}"
            continue
        check = _CHECKS.get(name)
        if check is not None and (wrong := check(value)):
            yield f"OPTIONS[{name!r}] {wrong}, not {shown(value)}"
    options = CacheOptions(**{name: value for name, value in given.items() if name in NAMES})
    if options.NEAR is not None and options.STAMP_MAX_AGE == 0:
        yield "OPTIONS['NEAR'] needs an OPTIONS['STAMP_MAX_AGE'] above 0"
    using: object = options.USING
    if not isinstance(using, str):
        yield f"OPTIONS['USING'] must be the name of an alias of ETCDAERO, not {shown(using)}"
    ignore: object = options.IGNORE_EXCEPTIONS
    if not isinstance(ignore, bool):
        yield "OPTIONS['IGNORE_EXCEPTIONS'] must be True or False"
    for call in (
        lambda: _near(options.NEAR),
        lambda: reverse_of(options.REVERSE_KEY_FUNCTION),
        lambda: serializers.chosen(options.SERIALIZER),
        lambda: _check_compressor(options),
    ):
        try:
            call()
        except ConfigurationError as error:
            yield str(error)


def read(given: object) -> CacheOptions:
    """Return the options of a cache. Raises ``ConfigurationError``, naming the option, for what is wrong in them."""
    for wrong in faults(given):
        raise ConfigurationError(wrong)
    values = {name: value for name, value in dict(given).items() if name in NAMES}  # type: ignore[call-overload] # checked
    return CacheOptions(**{**values, "NEAR": _near(values.get("NEAR"))})


def reverse_of(given: object) -> Callable[[str], str] | None:
    """Return ``REVERSE_KEY_FUNCTION``, imported if it is a path. Raises ``ConfigurationError``."""
    if isinstance(given, str):
        try:
            given = import_string(given)
        except (ImportError, TypeError, ValueError) as error:  # ".x" is no path at all
            raise ConfigurationError(
                f"OPTIONS['REVERSE_KEY_FUNCTION'] cannot be imported: {_why(given, error)}"
            ) from None
    if given is not None and not callable(given):
        raise ConfigurationError(f"OPTIONS['REVERSE_KEY_FUNCTION'] must be a function, not {shown(given)}")
    return given


def _why(path: object, error: Exception) -> str:
    """Return why a path cannot be imported, without quoting what is no path."""
    return str(error) if str(path).replace(".", "_").isidentifier() else "it is no path of a function"


def _check_compressor(options: CacheOptions) -> None:
    compressor, level = compressors.chosen(options.COMPRESSOR), options.COMPRESS_LEVEL
    if level is not None and (compressor is None or type(level) is not int or level not in compressor.levels):
        allowed = "no compressor was chosen" if compressor is None else f"{compressor.name} has {compressor.levels}"
        raise ConfigurationError(f"OPTIONS['COMPRESS_LEVEL'] is {shown(level)}; {allowed}")
