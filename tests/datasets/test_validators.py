"""Validators accept, refuse with a reason, and are named when they do."""

from __future__ import annotations

from typing import Any

import pytest

from django_etcdaero.datasets.validators import MaxShrink, MinRows, validate
from django_etcdaero.exceptions import ClusterError, ConfigurationError, ValidationFailed

ROWS = {number: number for number in range(10)}


@pytest.mark.parametrize("verdict", [None, True])
def test_none_and_true_accept(verdict: Any) -> None:
    validate([lambda old, new: verdict], None, ROWS)


@pytest.mark.parametrize(
    ("verdict", "words"), [(False, "refused the new rows"), ("too red", "too red"), (0, "refused")]
)
def test_anything_else_refuses(verdict: Any, words: str) -> None:
    def colour(old: Any, new: Any) -> Any:
        return verdict

    with pytest.raises(ValidationFailed, match=f"^colour: {words}"):
        validate([colour], None, ROWS)


def test_an_error_refuses_and_names_the_validator() -> None:
    def colour(old: Any, new: Any) -> None:
        raise KeyError("red")

    with pytest.raises(ValidationFailed, match=r"^colour raised KeyError: 'red'$"):
        validate([colour], None, ROWS)


def test_a_store_that_is_away_is_not_the_validators_word() -> None:
    def colour(old: Any, new: Any) -> None:
        raise ClusterError("away")

    with pytest.raises(ClusterError):
        validate([colour], None, ROWS)


def test_the_first_that_refuses_ends_it() -> None:
    called: list[str] = []
    with pytest.raises(ValidationFailed, match="MinRows: 10 rows, and at least 11"):
        validate(
            [lambda old, new: called.append("one"), MinRows(11), lambda old, new: called.append("two")], None, ROWS
        )
    assert called == ["one"]


def test_min_rows() -> None:
    validate([MinRows(10)], None, ROWS)
    validate([MinRows(0)], ROWS, {})
    with pytest.raises(ValidationFailed, match="MinRows: 0 rows, and at least 1,000 are required"):
        validate([MinRows(1000)], None, {})
    with pytest.raises(ConfigurationError, match="minimum=-1"):
        MinRows(-1)


def test_max_shrink() -> None:
    eight = {number: number for number in range(8)}
    validate([MaxShrink(0.2)], ROWS, eight)
    validate([MaxShrink(0.0)], None, {})
    validate([MaxShrink(0.0)], {}, {})
    validate([MaxShrink(1)], ROWS, {})
    validate([MaxShrink(0)], eight, ROWS)
    with pytest.raises(ValidationFailed, match="MaxShrink: the rows fall from 10 to 8, by more than 10%"):
        validate([MaxShrink(0.1)], ROWS, eight)
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigurationError, match="fraction="):
            MaxShrink(wrong)


def test_a_minimum_that_is_no_number_is_refused_where_it_is_written() -> None:
    with pytest.raises(ConfigurationError, match="must be a whole number, 0 or more"):
        MinRows("1")  # type: ignore[arg-type]
