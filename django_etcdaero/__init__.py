"""Datasets that one node loads and every process reads from memory, and coordination on the same stores.

Importing it loads no store and no client library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Two public names are those of subpackages. Importing a subpackage binds its module to its name here, once; the imports
# of these lines come after that and bind the public objects, and later imports of submodules leave them alone.
from . import kv as _kv_package  # noqa: F401
from .connections import kv, kvs
from .datasets.registry import datasets

if TYPE_CHECKING:
    from .datasets.definition import Dataset, dataset
    from .datasets.validators import MaxShrink, MinRows

__version__ = "0.1.0"

__all__ = ["Dataset", "MaxShrink", "MinRows", "dataset", "datasets", "kv", "kvs"]

_HOME = {
    "Dataset": "datasets.definition",
    "MaxShrink": "datasets.validators",
    "MinRows": "datasets.validators",
    "dataset": "datasets.definition",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
