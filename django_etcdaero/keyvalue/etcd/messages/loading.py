"""Import the package ``etcd3`` next to whatever protobuf is installed.

The last release of ``etcd3`` on PyPI, 0.12.0, brings message classes generated in 2020, which no protobuf since 4.21
accepts in its default implementation (``Descriptors cannot be created directly``). Its client itself is fine. So the
classes of :mod:`~django_etcdaero.keyvalue.etcd.messages.classes` are put in the place of its package ``etcd3.etcdrpc``
before it is imported: in this process only, and without a change to protobuf's settings or default pool.

Nothing is replaced when ``etcd3`` has been imported already, or when a later release is installed.
"""

from __future__ import annotations

import importlib
import re
import sys
import threading
from importlib import metadata
from types import ModuleType
from typing import Any

from django_etcdaero.exceptions import ConfigurationError

from .classes import NAMES, STUBS

_LAST_BROKEN = (0, 12, 0)
_PACKAGE = "etcd3.etcdrpc"
_CONTENTS: dict[str, dict[str, Any]] = {
    _PACKAGE: {**NAMES, **STUBS},
    f"{_PACKAGE}.kv_pb2": {name: NAMES[name] for name in ("KeyValue", "Event")},
    f"{_PACKAGE}.auth_pb2": {},
    f"{_PACKAGE}.rpc_pb2": NAMES,
    f"{_PACKAGE}.rpc_pb2_grpc": STUBS,
}
_lock = threading.Lock()


def load_etcd3() -> Any:
    """Return the module ``etcd3``, imported if need be. Raises ``ConfigurationError`` if there is no usable one."""
    with _lock:
        if "etcd3" in sys.modules:
            return _checked(importlib.import_module("etcd3"))  # waits if another thread is importing it
        try:
            version = metadata.version("etcd3")
        except metadata.PackageNotFoundError:
            raise ConfigurationError("an etcd server needs the package etcd3: pip install etcd3") from None
        if tuple(map(int, re.findall(r"\d+", version)[:3])) > _LAST_BROKEN:
            return _checked(importlib.import_module("etcd3"))
        _register()
        try:
            return _checked(importlib.import_module("etcd3"))
        except BaseException:
            for name in _CONTENTS:
                sys.modules.pop(name, None)
            raise


def _register() -> None:
    for name, contents in _CONTENTS.items():
        module = ModuleType(name, "django-etcdaero's stand-in for the generated code of etcd3.")
        module.__dict__.update(contents)
        if name == _PACKAGE:
            module.__path__ = []
        sys.modules[name] = module
    for name in _CONTENTS:
        if name != _PACKAGE:
            setattr(sys.modules[_PACKAGE], name.rpartition(".")[2], sys.modules[name])


def _checked(module: ModuleType) -> Any:
    if not hasattr(module, "Etcd3Client"):
        raise ConfigurationError(
            "the module etcd3 is not the one of the package etcd3: another package, such as etcd3-py, installs a "
            "module of the same name; uninstall both, then: pip install etcd3"
        )
    return module
