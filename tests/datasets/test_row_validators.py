"""Validators of each row tell the first that is wrong, and how many are."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

import msgspec
import pytest

from django_etcdaero import NoNulls, Schema
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.datasets.validators import validate
from django_etcdaero.exceptions import ConfigurationError, ValidationFailed
from tests.datasets.hosting import FakeHost, publish

ROWS: dict[str, Any] = {"A1": {"name": "Pot", "price": Decimal(1)}, "B2": {"name": "Cup", "price": Decimal(2)}}


def refusal(validator: Any, *rows: Any) -> str:
    with pytest.raises(ValidationFailed) as caught:
        validate([validator], None, ROWS | {f"X{number}": row for number, row in enumerate(rows)})
    return str(caught.value)


def test_no_nulls() -> None:
    validate([NoNulls("name", "price"), NoNulls("price")], None, ROWS)
    assert refusal(NoNulls("name", "price"), {"name": "Pan", "price": None}, {"name": None, "price": None}) == (
        "NoNulls: 2 of 4 rows are wrong; row 'X0': 'price' is None"
    )
    assert refusal(NoNulls("name"), {}).endswith("1 of 3 rows are wrong; row 'X0': 'name' is missing")
    assert refusal(NoNulls("name"), [1]).endswith("row 'X0': is list and has no fields")
    with pytest.raises(ConfigurationError, match="expected the names of fields"):
        NoNulls()


def test_a_schema_of_fields() -> None:
    schema = Schema({"name": str, "price": Decimal | int}, optional={"note": str | None, "any": Any})
    validate([schema], None, ROWS | {"C3": {"name": "Pan", "price": 1, "note": None, "any": {}, "extra": 1}})
    assert refusal(schema, {"name": "Pan"}).endswith("row 'X0': 'price' is missing")
    assert refusal(schema, {"name": "Pan", "price": True}).endswith("'price' is bool, expected Decimal or int")
    assert refusal(schema, {"name": None, "price": 1}).endswith("'name' is None, expected str")
    assert refusal(schema, {"name": "Pan", "price": 1, "note": 7}).endswith("'note' is int, expected str or None")
    assert refusal(schema, "text").endswith("is str and has no fields")
    strict = Schema({"name": str, "price": Decimal}, extra=False)
    assert refusal(strict, {"name": "Pan", "price": Decimal(1), "size": 3}).endswith("'size' is not in the schema")
    with pytest.raises(ConfigurationError, match="the type of 'name' is 'str'"):
        Schema({"name": "str"})


@dataclass
class Product:
    name: str
    tags: list[str]
    kind: Literal["pot", 1] | None = None
    sizes: dict[str, int] = field(default_factory=dict)


class Pair(NamedTuple):
    x: int
    y: int | None = 0


def test_a_schema_of_a_row_type() -> None:
    product = Schema.of(Product)
    validate([product], None, {1: {"name": "A", "tags": []}, 2: {"name": "B", "tags": ["x"], "kind": 1, "sizes": {}}})
    with pytest.raises(ValidationFailed, match="'kind' is bytes, expected str or int or None"):
        validate([product], None, {1: {"name": "A", "tags": [], "kind": b""}})
    validate([Schema.of(Pair)], None, {1: {"x": 1}, 2: {"x": 1, "y": None}})
    with pytest.raises(ValidationFailed, match="'z' is not in the schema"):
        validate([Schema.of(Pair)], None, {1: {"x": 1, "z": 1}})
    validate([Schema.of(Pair, extra=True)], None, {1: {"x": 1, "z": 1}})
    with pytest.raises(ConfigurationError, match="expected a dataclass, a NamedTuple, a TypedDict or a"):
        Schema.of(int)


@dataclass(frozen=True, slots=True)
class Slotted:
    sku: str
    price: Decimal | None


class Tuple(NamedTuple):
    sku: str
    price: Decimal | None


class Struct(msgspec.Struct, frozen=True):
    sku: str
    price: Decimal | None


class Fields(TypedDict):
    sku: str
    price: NotRequired[Decimal | None]


@pytest.mark.parametrize("row_type", [Slotted, Tuple, Struct])
def test_instances_of_a_row_type_have_its_fields(row_type: Any, host: FakeHost, declare: Any) -> None:
    validators = [NoNulls("sku", "price"), Schema.of(row_type), Schema({"price": Decimal})]
    products = declare({"A1": row_type("A1", Decimal(1))}, row_type=row_type, validators=validators)
    assert publish(products).outcome is Outcome.REFRESHED
    refused = publish(products, {"A1": row_type("A1", None)})
    assert refused.error.endswith("NoNulls: 1 of 1 rows are wrong; row 'A1': 'price' is None")
    assert refusal(Schema({"price": Decimal}), row_type("A1", None)).endswith("'price' is None, expected Decimal")
    assert refusal(Schema({"name": str}), row_type("A1", None)).endswith("'name' is missing")
    with pytest.raises(ValidationFailed, match="row 'A1': 'price' is not in the schema"):
        validate([Schema({"sku": str}, extra=False)], None, {"A1": row_type("A1", None)})
    assert refusal(NoNulls("name"), row_type("A1", None)).endswith("row 'X0': 'name' is missing")


def test_a_schema_of_a_typed_dict_knows_what_may_be_missing() -> None:
    validate([Schema.of(Fields)], None, {1: {"sku": "A1"}, 2: {"sku": "A1", "price": None}})
    assert refusal(Schema.of(Fields, extra=True), {"price": None}).endswith("'sku' is missing")


def test_containers_count_as_what_was_loaded(host: FakeHost, declare: Any) -> None:
    schema = Schema({"tags": list, "size": dict, "colors": set, "at": tuple, "sold": frozenset})
    row = {"tags": ["x"], "size": {"w": 1}, "colors": {"red"}, "at": (1,), "sold": frozenset([1])}
    products = declare({"A1": row}, validators=[schema])
    assert publish(products).outcome is Outcome.REFRESHED
    assert publish(products, {"A1": row | {"tags": ("x",)}}).outcome is Outcome.FAILED
    assert publish(products, {"A1": row | {"at": ["x"]}}).error.endswith("'at' is list, expected tuple")
