"""Text that is not shown: for passwords in settings, and URLs with one."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from .stores.url import mask

_SECRET_KEYS: Final = ("KV", "RECORDS", "KV_PASSWORD", "RECORDS_PASSWORD")


class Secret(str):
    """A ``str`` whose ``repr`` hides it: of a URL user and password, all of any other text.

    Django's debug pages and error mails, ``diffsettings``, logs of whole dictionaries and debuggers show the ``repr``.
    Everything else is that of the text: ``str()`` and what is joined or formatted with it is no secret any more.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(mask(str(self))) if "://" in self else "'***'"


def hide_passwords(etcdaero: Any, caches: Any) -> None:
    """Make a :class:`Secret` of each password and URL with one in these settings, ``ETCDAERO`` and ``CACHES``.

    They are changed in place, for who shows settings shows these objects, and stay equal to what they were; settings
    that a test puts in later are as it writes them. Of ``CACHES`` the entries with our backend are looked at. What is
    no dictionary of dictionaries is left alone.
    """
    for entry in _entries(etcdaero):
        for key in _SECRET_KEYS:
            _hide(entry, key)
    for entry in _entries(caches):
        if is_our_cache(entry):
            _hide(entry, "LOCATION")


def is_our_cache(entry: Mapping[Any, Any]) -> bool:
    """Tell by its name whether an entry of ``CACHES`` has this package's backend; nothing is imported."""
    return "etcdaero" in str(entry.get("BACKEND")).lower()


def _entries(setting: Any) -> list[MutableMapping[Any, Any]]:
    values = setting.values() if isinstance(setting, dict) else ()
    return [each for each in values if isinstance(each, dict)]


def _hide(entry: MutableMapping[Any, Any], key: str) -> None:
    value = entry.get(key)
    if type(value) is str and (key.endswith("_PASSWORD") or "@" in value):
        entry[key] = Secret(value)
