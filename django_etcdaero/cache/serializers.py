"""Values to bytes and back. A number in each entry's header says which serializer wrote it."""

from __future__ import annotations

import importlib
import json
import pickle
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from django.core.serializers.json import DjangoJSONEncoder

from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.system.shown import shown, shown_name


class Serializer(NamedTuple):
    """A way to write values. ``code`` is what the header of an entry says; codes never change their meaning."""

    code: int
    name: str
    dumps: Callable[[Any], bytes]
    loads: Callable[[bytes], Any]
    signed: bool = False
    """Nothing is read that this project has not signed."""
    executes: bool = False
    """Reading can run code."""


def _dump_pickle(value: Any) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def _dump_json(value: Any) -> bytes:
    text = json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False, separators=(",", ":"), allow_nan=True)
    return text.encode("utf-8", "surrogatepass")


def _load_json(data: bytes) -> Any:
    return json.loads(data.decode("utf-8", "surrogatepass"))


def _dump_msgpack(value: Any) -> bytes:
    msgpack: Any = importlib.import_module("msgpack")
    data: bytes = msgpack.packb(value, use_bin_type=True)
    return data


def _load_msgpack(data: bytes) -> Any:
    msgpack: Any = importlib.import_module("msgpack")
    return msgpack.unpackb(data, raw=False, strict_map_key=False)


SIGNED_PICKLE: Final = Serializer(1, "pickle", _dump_pickle, pickle.loads, signed=True, executes=True)
UNSIGNED_PICKLE: Final = Serializer(2, "unsigned-pickle", _dump_pickle, pickle.loads, executes=True)
JSON: Final = Serializer(3, "json", _dump_json, _load_json)
MSGPACK: Final = Serializer(4, "msgpack", _dump_msgpack, _load_msgpack)

CUSTOM: Final = 255
"""The code of a serializer of the project."""

BUILT_IN: Final = {each.name: each for each in (SIGNED_PICKLE, UNSIGNED_PICKLE, JSON, MSGPACK)}


_NAMES: Final = ", ".join(BUILT_IN)


def chosen(setting: object) -> Serializer:
    """Return the serializer that ``OPTIONS["SERIALIZER"]`` names, or the one that it is.

    A serializer of the project is an object (or a class without arguments) with ``dumps(value) -> bytes`` and
    ``loads(bytes) -> value``; its entries are signed, because nobody knows what its ``loads`` can be made to do.
    Raises ``ConfigurationError`` for anything else and for a package that is not installed.
    """
    if isinstance(setting, str):
        if setting not in BUILT_IN:
            raise ConfigurationError(f"SERIALIZER is {shown_name(setting)}; there are {_NAMES}, or give an object")
        if setting == MSGPACK.name:
            try:
                importlib.import_module("msgpack")
            except ImportError:
                raise ConfigurationError("SERIALIZER 'msgpack' needs the package msgpack, which is not there") from None
        return BUILT_IN[setting]
    if isinstance(setting, type):
        kind = setting
        try:
            setting = kind()
        except Exception as error:  # code of the project
            what = f"{kind.__name__}() raised {type(error).__name__}: {error}"
            raise ConfigurationError(f"SERIALIZER is a class that must be made without arguments: {what}") from error
    dumps, loads = getattr(setting, "dumps", None), getattr(setting, "loads", None)
    if not callable(dumps) or not callable(loads):
        raise ConfigurationError(f"SERIALIZER must be a name or have dumps and loads, not {shown(setting)}")
    return Serializer(CUSTOM, type(setting).__name__, dumps, loads, signed=True, executes=True)


def readable(chosen: Serializer, *, private: bool = False) -> dict[int, Serializer]:
    """Return the serializers whose entries are read, by code, when ``chosen`` is the one that writes.

    All that cannot run code are; signed pickles are, because only this project can have written them; unsigned ones
    only where they were asked for, or where nobody but this process writes (``private``).
    """
    found = {each.code: each for each in BUILT_IN.values() if each.signed or not each.executes or private}
    found[chosen.code] = chosen
    return found
