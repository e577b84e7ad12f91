"""What users import, and what importing it does not do."""

from __future__ import annotations

import inspect
import subprocess
import sys
import types
from typing import Any

import pytest

import django_etcdaero
from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.snapshot import Snapshot

NAMES = [
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


def test_the_public_names() -> None:
    assert django_etcdaero.__all__ == NAMES
    for name in NAMES:
        assert not isinstance(getattr(django_etcdaero, name), types.ModuleType)
    assert django_etcdaero.__version__
    with pytest.raises(AttributeError, match="'django_etcdaero' has no attribute 'nothing'"):
        django_etcdaero.nothing  # noqa: B018


SIGNATURES = {
    "refresh": (
        "(self, *, force: bool = False, wait: float = 0.0, skip_validators: bool = False,"
        " allow_in_atomic: bool = False, full: bool = False, keys: Collection[K] | None = None) -> RefreshResult"
    ),
    "request_refresh": "(self) -> RefreshRequest[K, V]",
    "arequest_refresh": "(self) -> RefreshRequest[K, V]",
    "history": "(self) -> list[Version]",
    "refused": "(self) -> list[RefusedLoad]",
    "diff": "(self, old: int | None = None, new: int | None = None) -> Diff[K, V]",
    "pin": "(self, version: int | None = None, *, reason: str = , by: str = ) -> int",
    "rollback": "(self, version: int | None = None, *, reason: str = , by: str = ) -> int",
    "unpin": "(self) -> bool",
    "snapshot": "(self: _Indexed[Index]) -> Snapshot[K, V, Index]",
    "wait_ready": "(self: _Indexed[Index], timeout: float | None = None) -> Snapshot[K, V, Index]",
    "wait_version": "(self: _Indexed[Index], at_least: int | None, *, timeout: float) -> Snapshot[K, V, Index]",
    "aready": "(self: _Indexed[Index], timeout: float | None = None) -> Snapshot[K, V, Index]",
    "status": "(self) -> DatasetStatus",
    "get": "(self, key: Any, default: Any = None) -> Any",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_signatures_of_a_dataset(name: str) -> None:
    assert str(inspect.signature(getattr(Dataset, name))).replace("'", "") == SIGNATURES[name]


def test_everything_public_of_a_dataset_is_documented() -> None:
    for cls in (Dataset, Snapshot):
        for name, member in vars(cls).items():
            if not name.startswith("_") and callable(member):
                assert inspect.getdoc(getattr(cls, name)), f"{cls.__name__}.{name}"


def run(code: str) -> str:
    """Run ``code`` in a fresh interpreter; return what it prints."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ORDERS: dict[str, Any] = {
    "names first": "from django_etcdaero import Dataset, dataset, datasets, kv, kvs; import django_etcdaero.keyvalue",
    "submodules first": "import django_etcdaero.keyvalue.queue.lock, django_etcdaero.datasets.publish.publication",
    "the runtime first": "import django_etcdaero.runtime, django_etcdaero.keyvalue.facade",
    "from the subpackages": "from django_etcdaero.keyvalue import KV; import django_etcdaero.datasets.blocks.codec",
}


@pytest.mark.parametrize("first", ORDERS.values(), ids=ORDERS)
def test_the_names_are_the_same_whatever_is_imported_first(first: str) -> None:
    code = (
        f"{first}\n"
        "from django_etcdaero import Dataset, dataset, datasets, kv, kvs\n"
        "from django_etcdaero.keyvalue import KV, ops\n"
        "print(type(kv).__name__, type(kvs).__name__, type(datasets).__name__, type(KV).__name__, ops.__name__)\n"
    )
    assert run(code) == "DefaultKV KVHandler Datasets type django_etcdaero.keyvalue.ops"


def test_importing_it_loads_no_store_and_no_client_library() -> None:
    loaded = run("import sys, django_etcdaero; print(*sys.modules)").split()
    for name in ("sqlite3", "lz4", "msgpack", "grpc", "etcd3", "aerospike", "django.db", "tqdm", "environ"):
        assert name not in loaded
    ours = {name for name in loaded if name.startswith("django_etcdaero")}
    assert ours == {
        "django_etcdaero",
        "django_etcdaero.connections",
        "django_etcdaero.datasets",
        "django_etcdaero.datasets.registry",
        "django_etcdaero.exceptions",
    }


@pytest.mark.parametrize("package", ["keyvalue", "records", "datasets"])
def test_the_core_imports_nothing_of_django(package: str) -> None:
    # The root package defines the public names with Django's help: an empty one takes its place.
    code = f"""
import importlib, pkgutil, sys, types
root = types.ModuleType("django_etcdaero")
root.__path__ = {list(django_etcdaero.__path__)!r}
sys.modules["django_etcdaero"] = root
package = importlib.import_module("django_etcdaero.{package}")
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if ".etcd" not in module.name and "records.database." not in module.name:
        importlib.import_module(module.name)
print(*(name for name in sys.modules if name.partition(".")[0] == "django"))
"""
    assert run(code) == ""
