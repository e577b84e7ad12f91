"""One thing has one name everywhere, and one name stands for one thing."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import pytest

from django_etcdaero.keyvalue import KV, AsyncTransaction, Transaction, txn
from django_etcdaero.keyvalue.administration import Auth


def functions(owner: type | ModuleType) -> dict[str, Any]:
    found = inspect.getmembers(owner, inspect.isfunction)
    return {name: function for name, function in found if not name.startswith("_")}


@pytest.mark.parametrize("owner", [KV, Transaction, AsyncTransaction, Auth, txn], ids=lambda owner: owner.__name__)
def test_a_range_is_given_as_key_and_range_end_in_every_call(owner: type | ModuleType) -> None:
    ranges = 0
    for name, function in functions(owner).items():
        parameters = list(inspect.signature(function).parameters)
        if "range_end" in parameters:
            ranges += 1
            assert parameters[parameters.index("range_end") - 1] == "key", name
    assert ranges
