"""What ``load()`` may give, and what is refused by name."""

from __future__ import annotations

import collections
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import pytest

from django_etcdaero.datasets.publish.source import STEP, load_rows
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.exceptions import DuplicateKey, EncodeError
from tests.datasets.hosting import FakeHost, follow


@pytest.mark.parametrize(
    "given",
    [
        {"a": 1, "b": 2},
        collections.OrderedDict(a=1, b=2),
        MappingProxyType({"a": 1, "b": 2}),
        [("a", 1), ("b", 2)],
        {("a", 1), ("b", 2)},
        {"a": 1, "b": 2}.items(),
        ((key, row) for key, row in (("a", 1), ("b", 2))),
    ],
)
def test_mappings_and_pairs(declare: Any, given: Any) -> None:
    assert load_rows(declare(given)) == {"a": 1, "b": 2}


def test_an_empty_dataset_is_a_dataset(host: FakeHost, declare: Any) -> None:
    prices = declare({})
    result = prices.refresh()
    assert (result.outcome, result.rows, result.version) == (Outcome.REFRESHED, 0, 1)
    follow(prices, host).step()
    assert (len(prices), dict(prices), prices.get("a")) == (0, {}, None)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (5, "returned builtins.int; expected a mapping or an iterable"),
        ("ab", "returned builtins.str"),
        (b"ab", "returned builtins.bytes"),
        ([1], "gave builtins.int as item 1; expected a"),
        ([("a", 1), None], "gave None as item 2"),
        ([("a", 1, 2)], "gave a tuple of 3 as item 1"),
        ([["a", 1]], "gave builtins.list as item 1"),
        (["ab"], "gave builtins.str as item 1"),
        ([([], 1)], r"gave the key \[\]: .*unhashable"),
    ],
)
def test_anything_else_is_refused(declare: Any, given: Any, words: str) -> None:
    with pytest.raises(EncodeError, match=f"load\\(\\) of dataset 'prices' {words}"):
        load_rows(declare(given))


def test_a_load_that_forgets_to_return_is_told(declare: Any) -> None:
    prices = declare()
    prices.source.rows = None
    with pytest.raises(EncodeError, match="returned None"):
        load_rows(prices)


def test_equal_keys_of_different_types_are_both_named(declare: Any) -> None:
    with pytest.raises(DuplicateKey, match=r"gave the key True and 1, which are equal$"):
        load_rows(declare([(0, "a"), (1, "b"), (True, "c")]))


def test_a_key_that_comes_twice_is_refused(host: FakeHost, declare: Any) -> None:
    prices = declare([("a", 1), ("b", 1), ("a", 1)])
    with pytest.raises(DuplicateKey, match="gave the key 'a' twice"):
        load_rows(prices)
    assert prices.refresh().error == "DuplicateKey: load() of dataset 'prices' gave the key 'a' twice"


def test_a_row_that_cannot_be_stored_is_named(host: FakeHost, declare: Any) -> None:
    prices = declare({"a": {"x": object()}})
    result = prices.refresh()
    assert result.outcome is Outcome.FAILED
    assert "row 'a' at ['x']: object cannot be stored" in str(result.error)


def test_progress_counts_the_pairs(declare: Any) -> None:
    told: list[tuple[str, int, int | None]] = []
    count = 2 * STEP + 5
    load_rows(declare([(number, number) for number in range(count)]), lambda *each: told.append(each))
    assert told == [("load", 0, None), ("load", STEP, None), ("load", 2 * STEP, None), ("load", count, count)]


def test_progress_tells_of_a_mapping_before_and_after_it_is_loaded(declare: Any) -> None:
    told: list[tuple[str, int, int | None]] = []
    prices = declare({"a": 1, "b": 2})
    prices.source.during = lambda: told.append(("loading", 0, None))
    load_rows(prices, lambda *each: told.append(each))
    assert told == [("load", 0, None), ("loading", 0, None), ("load", 2, 2)]


# --- where code of the project runs ----------------------------------------------------------------------------------

variable: ContextVar[str] = ContextVar("variable", default="as in a new process")


def test_code_of_the_project_finds_and_leaves_nothing_in_the_context_of_who_refreshes(
    host: FakeHost, declare: Any
) -> None:
    seen: dict[str, str] = {}

    def look(where: str) -> None:
        seen[where] = variable.get()
        variable.set(f"left by {where}")

    def rows() -> Any:
        look("load")
        yield "a", 1

    prices = declare(
        prepare=lambda self, rows: look("prepare"), validators=[lambda old, new: look("validator")], rows="frozen"
    )
    prices.source.rows = rows()
    variable.set("of the request")
    assert prices.refresh().outcome is Outcome.REFRESHED
    assert seen == dict.fromkeys(["load", "validator", "prepare"], "as in a new process")
    assert variable.get() == "of the request"


@pytest.mark.parametrize(
    ("row", "example"),
    [
        ({"name": "Teapot", "sku": "A1"}, '{row["sku"]: row for row in rows}'),
        ({"price": 2, "title": "Cup"}, '{row["price"]: row for row in rows}'),
    ],
)
def test_a_list_of_dicts_is_told_how_to_give_keys(declare: Any, row: dict[str, Any], example: str) -> None:
    with pytest.raises(EncodeError) as refused:
        load_rows(declare([row]))
    assert str(refused.value).endswith(f"expected a (key, row) pair, for example by {example}")


def test_a_queryset_is_told_of_datasets_of_models(declare: Any) -> None:
    from django.contrib.contenttypes.models import ContentType

    with pytest.raises(EncodeError, match=r"expected a \(key, row\) pair of plain values, as a ModelDataset makes"):
        load_rows(declare([ContentType()]))


def test_a_dict_without_names_is_told_what_is_expected(declare: Any) -> None:
    with pytest.raises(EncodeError, match=r"expected a \(key, row\) pair$"):
        load_rows(declare([{}]))
