"""Validators accept, refuse with a reason, and are named when they do."""

from __future__ import annotations

from typing import Any

import pytest

from django_etcdaero.datasets.validators import (
    Accepted,
    MaxAdded,
    MaxChanged,
    MaxRemoved,
    MaxShrink,
    MinRows,
    RowCountVariance,
    ValidatorResult,
    validate,
)
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


def test_what_each_validator_said_is_told() -> None:
    def measured(old: Any, new: Any) -> Accepted:
        return Accepted("lukewarm", {"degrees": 21})

    results: list[ValidatorResult] = []
    shrink = MaxShrink(0.5)
    validate([MinRows(2), measured, shrink, lambda old, new: True], ROWS, ROWS, overridden=[shrink], results=results)
    assert results == [
        ValidatorResult(name="MinRows", ok=True, text="10 rows", figures={"rows": 10, "minimum": 2}),
        ValidatorResult(name="measured", ok=True, text="lukewarm", figures={"degrees": 21}),
        ValidatorResult(
            name="MaxShrink",
            ok=True,
            text="10 rows before, 10 now",
            figures={"old": 10, "new": 10, "fraction": 0.5},
            overridden=True,
        ),
        ValidatorResult(name="<lambda>", ok=True),
    ]
    results.clear()
    with pytest.raises(ValidationFailed) as caught:
        validate([MinRows(11), measured], None, ROWS, results=results)
    assert caught.value.figures == {"rows": 10, "minimum": 11}
    assert results == [ValidatorResult(name="MinRows", ok=False, text=str(caught.value), figures=caught.value.figures)]


def test_row_count_variance() -> None:
    twelve, eight = dict.fromkeys(range(12)), dict.fromkeys(range(8))
    validate([RowCountVariance(0.2)], ROWS, twelve)
    validate([RowCountVariance(0.2)], ROWS, eight)
    validate([RowCountVariance(0)], None, ROWS)
    validate([RowCountVariance(5)], ROWS, dict.fromkeys(range(60)))
    for rows in (twelve, eight):
        with pytest.raises(ValidationFailed, match=f"the rows go from 10 to {len(rows)}, by more than 12.5%"):
            validate([RowCountVariance(0.125)], ROWS, rows)


@pytest.mark.parametrize(
    ("validator", "new", "said"),
    [
        (MaxAdded, ROWS | dict.fromkeys("abc"), "MaxAdded: 3 rows added, 30% of 10; at most 29% may be"),
        (MaxRemoved, {number: number for number in range(3, 20)}, "MaxRemoved: 3 rows removed, 30% of 10"),
        (MaxChanged, ROWS | {1: None, 2: None, 3: None, "new": 1}, "MaxChanged: 3 rows changed, 30% of 10"),
    ],
)
def test_changes_are_bounded_by_kind(validator: Any, new: Any, said: str) -> None:
    validate([validator(0.3)], ROWS, new)
    validate([validator(0)], None, new)
    with pytest.raises(ValidationFailed, match=said):
        validate([validator(0.29)], ROWS, new)
    for wrong in (-1, float("nan"), "0.5"):
        with pytest.raises(ConfigurationError, match=f"{validator.__name__}\\(fraction="):
            validator(wrong)
