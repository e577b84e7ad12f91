"""Datasets that one node loads and every process reads from memory, and coordination on the same stores.

Importing it loads no store and no client library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# The public name `datasets` is that of a subpackage. Importing the subpackage binds its module to the name here, once;
# these lines come after that and bind the public object, and later imports of submodules leave it alone.
from .connections import kv, kvs
from .datasets.registry import datasets

if TYPE_CHECKING:
    from .datasets.blocks.frozen import thaw
    from .datasets.changes import Changes
    from .datasets.dataset import Dataset
    from .datasets.decorator import dataset
    from .datasets.row_validators import NoNulls, Schema
    from .datasets.validators import MaxAdded, MaxChanged, MaxRemoved, MaxShrink, MinRows, RowCountVariance
    from .model_datasets.changes import model_changed
    from .model_datasets.dataset import ModelDataset
    from .secret import Secret

__version__ = "0.1.0"

__all__ = [
    "Changes",
    "Dataset",
    "MaxAdded",
    "MaxChanged",
    "MaxRemoved",
    "MaxShrink",
    "MinRows",
    "ModelDataset",
    "NoNulls",
    "RowCountVariance",
    "Schema",
    "Secret",
    "dataset",
    "datasets",
    "kv",
    "kvs",
    "model_changed",
    "thaw",
]

_HOME = {
    "Changes": "datasets.changes",
    "Dataset": "datasets.dataset",
    "MaxAdded": "datasets.validators",
    "MaxChanged": "datasets.validators",
    "MaxRemoved": "datasets.validators",
    "MaxShrink": "datasets.validators",
    "MinRows": "datasets.validators",
    "ModelDataset": "model_datasets.dataset",
    "NoNulls": "datasets.row_validators",
    "RowCountVariance": "datasets.validators",
    "Schema": "datasets.row_validators",
    "Secret": "secret",
    "dataset": "datasets.decorator",
    "model_changed": "model_datasets.changes",
    "thaw": "datasets.blocks.frozen",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
