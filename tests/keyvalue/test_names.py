"""One thing has one name everywhere, and one name stands for one thing."""

from __future__ import annotations

import inspect
import pkgutil
from types import ModuleType
from typing import Any

import pytest

from django_etcdaero import keyvalue
from django_etcdaero.keyvalue import (
    KV,
    AsyncTransaction,
    Election,
    Leadership,
    Lease,
    Lock,
    Session,
    Transaction,
    administration,
    ops,
)
from django_etcdaero.keyvalue.administration import Auth


def functions(owner: type | ModuleType) -> dict[str, Any]:
    found = inspect.getmembers(owner, inspect.isfunction)
    return {name: function for name, function in found if not name.startswith("_")}


@pytest.mark.parametrize("owner", [KV, Transaction, AsyncTransaction, Auth, ops], ids=lambda owner: owner.__name__)
def test_a_range_is_given_as_key_and_range_end_in_every_call(owner: type | ModuleType) -> None:
    ranges = 0
    for name, function in functions(owner).items():
        parameters = list(inspect.signature(function).parameters)
        if "range_end" in parameters:
            ranges += 1
            assert parameters[parameters.index("range_end") - 1] == "key", name
    assert ranges


def test_no_method_of_the_client_is_called_like_a_module() -> None:
    modules = {module.name for module in pkgutil.iter_modules(keyvalue.__path__)}
    # What is in the room `objects` is what kv.objects() is about: there the name stands for one thing.
    assert modules & set(functions(KV)) == {"objects"}


def test_no_exported_name_is_called_like_a_module() -> None:
    modules = {module.name for module in pkgutil.walk_packages(keyvalue.__path__) if not module.name.startswith("_")}
    assert modules & {*keyvalue.__all__, *administration.__all__} == set()


@pytest.mark.parametrize("cls", [Lock, Election, Leadership, Lease, Session], ids=lambda cls: cls.__name__)
def test_what_can_be_lost_tells_it_by_the_same_names(cls: type) -> None:
    assert isinstance(cls.lost, property)  # type: ignore[attr-defined]
    assert isinstance(cls.lost_reason, property)  # type: ignore[attr-defined]
    for name in ("lost", "lost_reason"):
        assert getattr(cls, name).fget.__annotations__["return"] in ("bool", "LossReason | None")
