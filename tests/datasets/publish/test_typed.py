"""Rows of a class from load() to readers."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.datasets.validators import MaxChanged
from django_etcdaero.testing import override_dataset
from tests.datasets.hosting import FakeHost, follow, publish


@dataclass(frozen=True, slots=True)
class Price:
    amount: Decimal
    note: str | None = None


@dataclass(frozen=True, slots=True)
class LaterPrice:
    amount: Decimal
    currency: str = "EUR"


ROWS = {f"k{number}": Price(Decimal(number)) for number in range(100)}


@pytest.fixture
def prices(host: FakeHost, declare: Any) -> Any:
    prices = declare(ROWS)
    type(prices).row_type = Price
    return prices


def test_instances_are_loaded_validated_published_and_read(host: FakeHost, prices: Any) -> None:
    type(prices).validators = (MaxChanged(0.5),)
    assert publish(prices).version == 1
    assert publish(prices).outcome is Outcome.UNCHANGED
    following = follow(prices, host)
    following.step()
    assert dict(prices) == ROWS
    assert publish(prices, {**ROWS, "k1": Price(Decimal(7), "sale")}).version == 2
    following.step()
    assert prices["k1"] == Price(Decimal(7), "sale")
    (change,) = prices.diff()
    assert (change.old, change.new) == (ROWS["k1"], prices["k1"])
    refused = publish(prices, {key: Price(Decimal(-1)) for key in ROWS})
    assert (refused.outcome, refused.version) == (Outcome.FAILED, 2)
    following.close()


def test_a_wrong_value_fails_the_refresh_before_anything_is_written(host: FakeHost, prices: Any) -> None:
    assert publish(prices).version == 1
    result = publish(prices, {**ROWS, "k5": Price("5")})  # type: ignore[arg-type]
    assert (result.outcome, result.bytes_written) == (Outcome.FAILED, 0)
    assert (
        result.error
        == "EncodeError: row 'k5' does not fit the row type Price: its field 'amount' is str, expected Decimal"
    )


def test_old_and_new_code_read_each_other_s_rows(host: FakeHost, prices: Any) -> None:
    publish(prices)
    type(prices).row_type = LaterPrice
    new = follow(prices, host)
    new.step()
    assert prices["k3"] == LaterPrice(Decimal(3))
    new.close()
    publish(prices, {key: LaterPrice(row.amount, "CHF") for key, row in ROWS.items()})
    type(prices).row_type = Price
    old = follow(prices, host)
    old.step()
    assert prices["k3"] == Price(Decimal(3))
    old.close()


def test_a_test_of_a_project_may_give_instances(host: FakeHost, prices: Any) -> None:
    with override_dataset(prices, {"a": Price(Decimal(1))}):
        assert prices["a"] == Price(Decimal(1))
