"""Datasets in templates of Django: rows come first, nothing acts, and what is missing is told."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.template import Context, Engine

import django_etcdaero
from django_etcdaero import Dataset, connections, dataset, datasets, kv
from django_etcdaero.cache import EtcdAeroCache
from django_etcdaero.datasets.read.requested import RefreshRequest
from django_etcdaero.datasets.registry import Datasets
from django_etcdaero.datasets.snapshot import Snapshot
from django_etcdaero.exceptions import DatasetNotReady, DatasetStale
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.runtime import runtime
from django_etcdaero.testing import override_dataset

ENGINE = Engine(string_if_invalid="(none)")


def render(source: str, **context: Any) -> str:
    return ENGINE.from_string(source).render(Context(context))


# --- what a template can call ----------------------------------------------------------------------------------------

READING = {
    Dataset: {"diff", "history", "items", "keys", "refused", "sequence", "snapshot", "status", "values", "wait_ready"},
    Snapshot: {"items", "keys", "sequence", "values"},
    Datasets: {"copy", "items", "keys", "values"},
    connections.KVHandler: {"all"},
    EtcdAeroCache: {"get_backend_timeout", "get_client", "iter_keys", "keys", "stats"},
    "KV": {"leases", "monotonic_reads", "object_txn", "open_watches", "txn"},
    "Engine": {"lease_list"},
    EmbeddedEngine: {"lease_list", "memory"},
    "Lease": {"time_to_live"},
    "Lock": {"check", "compare", "holder", "queue"},
    "ReadLock": {"check", "compare", "holder", "queue"},
    "RWLock": {"holders", "queue", "read", "write"},
    "Semaphore": {"check", "compare", "holder", "holders", "queue", "stored_limit"},
    "WriteLock": {"check", "compare", "holder", "queue"},
    "Election": {"check", "compare", "holder", "leader", "queue"},
    "Leadership": {"check", "compare"},
    "Mirror": {"copy", "items", "keys", "values"},
    "Collection": {"list"},
    "ObjectTxn": {"compare"},
    "Txn": {"otherwise", "request", "then", "when"},
    "Auth": {"role_list", "status", "user_list"},
    "Cluster": {"members"},
    "Maintenance": {"alarms", "endpoints", "health", "status", "statuses"},
    "Members": {"states"},
}
"""The methods that do no more than look; those of classes that are not here have to be named here, or to be marked."""

OF_PYTHON = (int, str, bytes, Exception)


def public_classes() -> Iterator[type]:
    """The classes of which a user may hold an object."""
    yield from (Dataset, Snapshot, RefreshRequest, Datasets, connections.KVHandler, EtcdAeroCache, EmbeddedEngine)
    for package in ("keyvalue", "keyvalue.administration"):
        module = importlib.import_module(f"django_etcdaero.{package}")
        for name in module.__all__:
            member = getattr(module, name)
            if inspect.isclass(member) and not issubclass(member, OF_PYTHON):
                yield member


def callable_in_a_template(cls: type, name: str) -> bool:
    """Whether a template would call the method: it can be called without arguments, and is not marked."""
    method = getattr(cls, name, None)  # a base of datasets has no ``live``
    if isinstance(inspect.getattr_static(cls, name), property) or inspect.isclass(method) or not callable(method):
        return False
    if getattr(method, "alters_data", False):
        return False
    try:
        signature = inspect.signature(method)
    except ValueError:  # of C: what a template makes of it is seen when it is called
        return True
    bound = isinstance(inspect.getattr_static(cls, name), classmethod | staticmethod)
    try:
        signature.bind(*() if bound else (None,))
    except TypeError:
        return False
    return True


@pytest.mark.parametrize("cls", list(public_classes()), ids=lambda cls: cls.__name__)
def test_templates_call_what_reads_only(cls: type) -> None:
    found = {name for name in dir(cls) if not name.startswith("_") and callable_in_a_template(cls, name)}
    of_dict = {"fromkeys", "get", "pop", "setdefault", "update"} if issubclass(cls, dict) else set()
    allowed = READING.get(cls) or READING.get(cls.__name__) or set()
    assert found - of_dict == allowed


class Overridden(Dataset[str, int]):
    """A base of datasets whose methods override those that act."""

    def load(self) -> dict[str, int]:
        return {"a": 1}

    def refresh(self, **options: Any) -> Any:
        return super().refresh(**options)

    @staticmethod
    def unpin() -> bool:  # type: ignore[override]
        raise AssertionError

    def total(self) -> int:
        return sum(self.values())


def test_methods_that_override_one_that_acts_do_so_as_well() -> None:
    for name in ("load", "refresh", "unpin"):
        assert not callable_in_a_template(Overridden, name)
    assert callable_in_a_template(Overridden, "total")


# --- what a template shows -------------------------------------------------------------------------------------------


@pytest.fixture
def loads() -> list[int]:
    return []


@pytest.fixture
def flags(registry: object, closing: None, loads: list[int]) -> Any:
    @dataset
    def flags() -> dict[str, Any]:
        loads.append(1)
        return {"new_checkout": {"on": True, "items": "row"}, "version": "a row", "5": "five"}

    assert flags.refresh().ok
    flags.wait_ready(20)
    return flags


@pytest.mark.parametrize("name", ["refresh", "request_refresh", "arequest_refresh", "unpin", "load", "aready"])
def test_nothing_acts(flags: Any, loads: list[int], name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert render(f"{{{{ flags.{name} }}}}", flags=flags) == "(none)"
    assert loads == [1]


def test_the_registry_and_the_client_are_safe(flags: Any) -> None:
    assert render("{{ datasets.clear }}{{ datasets.popitem }}{{ kv.close }}", datasets=datasets, kv=kv) == "(none)" * 3
    assert "flags" in datasets
    assert not runtime.stores("default").kv.closed


@pytest.mark.parametrize("held", [lambda flags: flags, lambda flags: flags.snapshot()], ids=["dataset", "snapshot"])
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ it.version }}", "a row"),
        ("{{ it.new_checkout.on }} {{ it.new_checkout.items }}", "True row"),
        ("{{ it.5 }}", "five"),
        ("{{ it.not_there }}", "(none)"),
        ("{{ it.not_there.on }}", "(none)"),
        ("{% if it.not_there %}yes{% else %}no{% endif %}", "no"),
        ("{% if 'new_checkout' in it %}yes{% endif %}{% if 'x' in it %}no{% endif %}", "yes"),
        ("{% for key, row in it.items %}{% if key == '5' %}{{ row }}{% endif %}{% endfor %}", "five"),
        ("{{ it.keys|length }} {{ it|length }} {{ it.name }}", "3 3 flags"),
    ],
)
def test_rows_come_first_and_then_attributes(
    flags: Any, held: Callable[[Any], Any], source: str, expected: str
) -> None:
    assert render(source, it=held(flags)) == expected


def test_a_field_that_is_missing_is_missing_whatever_a_method_is_called(flags: Any) -> None:
    with override_dataset(flags, {"a": {"tags": []}}):
        source = "{{ row.update }} {{ row.clear }} {{ row.pop }} {{ row.tags.sort }}"
        assert render(source, row=flags["a"]).split() == ["(none)"] * 4


def test_a_row_is_found_whatever_a_method_is_called(flags: Any) -> None:
    with override_dataset(flags, {"items": 1, "refresh": 2, "name": 3}):
        assert render("{{ flags.items }}{{ flags.refresh }}{{ flags.name }}", flags=flags) == "123"


@pytest.mark.parametrize(
    "source",
    ["{{ flags.a }}", "{% if flags.a %}{% endif %}", "{% for k in flags.items %}{% endfor %}", "{{ flags|length }}"],
)
def test_rows_that_are_not_there_are_told(registry: object, closing: None, source: str) -> None:
    @dataset(first_read_timeout=0)
    def flags() -> dict[str, int]:
        return {}

    with pytest.raises(DatasetNotReady, match="dataset 'flags' is not loaded"):
        render(source, flags=flags)
    assert render("{% if flags.a and flags %}{% else %}no{% endif %}", flags=flags) == "no"  # Django swallows it


def test_no_error_is_silent_in_templates() -> None:
    for name, error in vars(django_etcdaero.exceptions).items():
        if inspect.isclass(error) and issubclass(error, Exception):
            assert not getattr(error, "silent_variable_failure", False), name
    for refusal in (DatasetNotReady, DatasetStale):  # a look-up that fails like these goes on in silence
        assert not issubclass(refusal, KeyError | TypeError | AttributeError | ValueError | IndexError)


def test_the_class_in_the_place_of_the_dataset_is_told(registry: object) -> None:
    class Flags(Dataset[str, int]):
        name = "flags"

        def load(self) -> dict[str, int]:
            return {"a": 1}

    with pytest.raises(TypeError, match=r"use .*Flags\.live"):
        render("{{ Flags.a }}", Flags=Flags)
    with override_dataset(Flags.live, {}):
        assert render("{{ flags.name }}", flags=Flags.live) == "flags"
