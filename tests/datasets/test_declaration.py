"""A dataset is declared by class or by decorator, and a wrong declaration is refused at once, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from django_etcdaero import Dataset, MaxShrink, MinRows, dataset, datasets
from django_etcdaero.datasets.publish.limit import load_limit
from django_etcdaero.exceptions import ConfigurationError
from tests.datasets.hosting import FakeHost, follow, publish

pytestmark = pytest.mark.usefixtures("host")


def served(live: Any, host: FakeHost) -> Any:
    assert publish(live).ok
    follow(live, host).step()
    return live


# --- the forms -------------------------------------------------------------------------------------------------------


def test_the_class_form_registers_itself(host: FakeHost) -> None:
    class Prices(Dataset[str, int]):
        """What things cost."""

        name = "prices"
        refresh_every = timedelta(hours=1)

        def load(self) -> dict[str, int]:
            return {"a": 1}

        def prepare(self, rows: Any) -> Any:
            return sum(rows.values())

    live = datasets["prices"]
    assert isinstance(live, Prices)
    assert served(live, host)["a"] == 1
    assert live.index == 1
    assert live.origin.endswith("Prices")


def test_the_decorator_on_a_class_gives_the_live_object() -> None:
    @dataset
    class Prices(Dataset[str, int]):
        name = "prices"

        def load(self) -> dict[str, int]:
            return {"a": 1}

    assert Prices is datasets["prices"]


def test_a_second_object_of_a_class_is_refused_with_the_way_to_the_first() -> None:
    class Base(Dataset[str, int]):
        def load(self) -> dict[str, int]:
            return {"a": 1}

    class Prices(Base):
        name = "prices"

        def __init__(self) -> None:
            super().__init__()
            self.made = True

    class Heir(Prices):
        pass

    with pytest.raises(TypeError, match=r"Prices\(\) would be .* no reader fills: use .*Prices\.live, or datasets"):
        Prices()
    with pytest.raises(TypeError, match=r"Prices is the class .*: use .*Prices\.live, or datasets\['prices'\]$"):
        Prices["a"]
    for base in (Base, Heir, Dataset):
        with pytest.raises(TypeError, match=f"{base.__name__} is a base for datasets"):
            base()
    assert isinstance(datasets["prices"], Prices)
    assert datasets["prices"].made


def test_the_bare_decorator(host: FakeHost) -> None:
    @dataset
    def prices() -> dict[str, int]:
        """What things cost."""
        return {"a": 1}

    assert prices is datasets["prices"]
    assert served(prices, host)["a"] == 1
    assert prices.refresh_every is None
    assert prices.__doc__ == "What things cost."
    assert prices.origin.endswith("prices")


def test_the_decorator_with_options(host: FakeHost) -> None:
    @dataset(
        name="price-list",
        refresh_every=timedelta(minutes=5),
        load_timeout=timedelta(minutes=2),
        schema=3,
        using="default",
        keep=2,
        required=False,
        first_read_timeout=0.5,
        max_stale=timedelta(hours=1),
        rows="plain",
        validators=[MinRows(1), MaxShrink(0.5)],
        prepare=lambda rows: sorted(rows),
    )
    def prices() -> Iterator[tuple[str, dict[str, list[int]]]]:
        yield "a", {"steps": [1, 2]}

    live = datasets["price-list"]
    assert live is prices
    assert (live.schema, live.keep, live.required, live.first_read_timeout) == (3, 2, False, 0.5)
    assert (live.load_timeout, load_limit(live)) == (timedelta(minutes=2), 120)
    assert (live.refresh_every, live.max_stale) == (timedelta(minutes=5), timedelta(hours=1))
    assert live.validators == (MinRows(1), MaxShrink(0.5))
    assert served(live, host)["a"] == {"steps": [1, 2]}
    live["a"]["steps"].append(3)
    assert live.index == ["a"]


def test_the_called_decorator_without_options() -> None:
    @dataset()
    def prices() -> dict[str, int]:
        return {}

    assert datasets["prices"] is prices


def test_a_base_class_without_a_name_is_not_registered() -> None:
    class Base(Dataset[str, int]):
        keep = 2

    class Prices(Base):
        name = "prices"

        def load(self) -> dict[str, int]:
            return {}

    class Special(Prices):
        pass

    assert list(datasets) == ["prices"]
    assert datasets["prices"].keep == 2
    with pytest.raises(ConfigurationError, match="Special: sets no name"):
        dataset(Special)


def test_prepare_gets_read_only_rows_and_its_result_is_the_index(host: FakeHost) -> None:
    seen: list[Any] = []

    @dataset(prepare=lambda rows: seen.append(rows) or "made")
    def prices() -> dict[str, int]:
        return {"a": 1}

    served(prices, host)
    assert prices.index == "made"
    with pytest.raises(TypeError):
        seen[0]["a"] = 2


def test_rows_come_back_as_the_declared_class(host: FakeHost) -> None:
    class Point(NamedTuple):
        x: int
        y: int = 0

    @dataclasses.dataclass(frozen=True)
    class Price:
        amount: int

    @dataset(row_type=Point)
    def points() -> dict[str, Any]:
        return {"a": {"x": 1}, "b": (1, 2)}

    @dataset(row_type=Price)
    def prices() -> dict[str, Any]:
        return {"a": {"amount": 3}}

    assert dict(served(points, host)) == {"a": Point(1, 0), "b": Point(1, 2)}
    assert served(prices, host)["a"] == Price(3)


def test_the_class_of_the_rows_is_no_form_of_them() -> None:
    class Point(NamedTuple):
        x: int

    with pytest.raises(ConfigurationError, match=r"rows = .*Point.*, expected 'frozen' or 'plain'; .* row_type=Point"):
        dataset(name="points", rows=Point)(lambda: {"a": (1,)})


def test_rows_are_read_only_unless_said_otherwise(host: FakeHost) -> None:
    @dataset
    def prices() -> dict[str, Any]:
        return {"a": {"steps": [1]}}

    with pytest.raises(TypeError, match="read-only"):
        served(prices, host)["a"]["steps"].append(2)
    assert prices["a"] == {"steps": [1]}


def test_instances_whose_attributes_can_be_set_are_a_choice(host: FakeHost) -> None:
    @dataclasses.dataclass
    class Price:
        amount: int

    load = lambda: {"a": (3,)}  # noqa: E731
    with pytest.raises(ConfigurationError, match=r"can be set.*dataclass\(frozen=True, slots=True\).*rows='plain'"):
        dataset(name="prices", row_type=Price)(load)
    prices = dataset(name="prices", row_type=Price, rows="plain")(load)
    assert served(prices, host)["a"] == Price(3)


def test_a_row_that_does_not_fit_its_class_is_named(host: FakeHost) -> None:
    @dataclasses.dataclass(frozen=True)
    class Price:
        amount: int

    @dataset(row_type=Price)
    def prices() -> dict[str, Any]:
        return {"a": {"wrong": 3}}

    result = prices.refresh()
    assert result.outcome == "failed"
    assert "row 'a' does not fit the row type" in str(result.error)


def test_validators_may_be_a_generator() -> None:
    @dataset(validators=(MinRows(number) for number in (1, 2)))
    def prices() -> dict[str, int]:
        return {"a": 1}

    assert prices.validators == (MinRows(1), MinRows(2))
    assert "at least 2" in str(prices.refresh().error)


def test_the_repr_says_what_is_held(host: FakeHost) -> None:
    @dataset
    def prices() -> dict[str, int]:
        return {"a": 1}

    assert repr(prices) == "<Dataset prices: not loaded>"
    assert repr(served(prices, host)) == "<Dataset prices: version 1>"


# --- wrong declarations ----------------------------------------------------------------------------------------------


def loader() -> dict[str, int]:
    return {}


WRONG = {
    "name": ["", "Prices", "two words", "x/y", "é", "x" * 101, 7, None],
    "load_timeout": [0, 60, timedelta(0), timedelta(seconds=-1), "never"],
    "refresh_every": [0, 60, timedelta(0), timedelta(seconds=-1), "1h"],
    "max_stale": [0, 60, timedelta(0), timedelta(seconds=-1)],
    "schema": [-1, 1.0, "1", True, None],
    "keep": [0, -1, 2.0, True, None],
    "using": ["", None, 1],
    "required": [1, None, "yes"],
    "first_read_timeout": [-1, float("nan"), float("inf"), "5", True, None],
    "rows": ["tuple", None, dict, 5],
    "validators": [5, "MinRows", [MinRows], ["x"], [None]],
    "prepare": [None, 5],
    "ordered": [1, None, "yes"],
    "indexes": ["slug", None, 5, [1], [""]],
    "refresh_on": ["shop.Product", None, 5, [1], [""]],
}


@pytest.mark.parametrize(("option", "value"), [(option, value) for option in WRONG for value in WRONG[option]])
def test_a_wrong_option_is_named(option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"\b{option}\b"):
        dataset(**{option: value})(loader)
    assert not datasets


@pytest.mark.parametrize(("option", "value"), [(option, value) for option in WRONG for value in WRONG[option]])
def test_a_wrong_attribute_is_named_with_its_class(option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"Wrong\b.*\b{option}\b"):
        type("Wrong", (Dataset,), {"name": "wrong", "load": lambda self: {}, option: value})
    assert not datasets


@pytest.mark.parametrize("attributes", [{}, {"load": None}, {"load": {"a": 1}}])
def test_a_dataset_needs_a_load_method(attributes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"Wrong.*load"):
        type("Wrong", (Dataset,), {"name": "wrong", **attributes})
    assert not datasets


def test_an_unknown_option_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"@dataset\(refresh=…\): unknown option; known: .*refresh_every"):
        dataset(refresh=5)(loader)


@pytest.mark.parametrize("target", [5, "prices", dict, object()])
def test_only_functions_and_dataset_classes_are_decorated(target: Any) -> None:
    with pytest.raises(ConfigurationError, match="for a function or a Dataset subclass"):
        dataset(name="x")(target)


def test_a_name_in_capitals_is_answered_with_one_that_would_do() -> None:
    with pytest.raises(ConfigurationError, match=r"name = 'Price-List', expected .*, such as 'price-list'$"):
        dataset(name="Price-List")(loader)


def test_a_name_in_the_place_of_the_function_is_answered_with_its_place() -> None:
    with pytest.raises(ConfigurationError, match=r"not for 'prices'; write @dataset\(name='prices'\)"):
        dataset("prices")


async def coroutine(self: Any = None) -> dict[str, int]:
    return {}


async def generator(self: Any = None) -> AsyncIterator[tuple[str, int]]:
    yield "a", 1


@pytest.mark.parametrize("load", [coroutine, generator])
def test_an_asynchronous_load_is_refused_because_nobody_would_await_it(load: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"\.{load.__name__}: load\(\) is asynchronous"):
        dataset(name="x")(load)
    with pytest.raises(ConfigurationError, match=r"Wrong: load\(\) is asynchronous"):
        type("Wrong", (Dataset,), {"name": "wrong", "load": load})
    assert not datasets


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(ConfigurationError, match="name = '<lambda>'"):
        dataset(lambda: {"a": 1})
    assert dataset(name="x")(lambda: {"a": 1}).name == "x"


def test_a_class_takes_no_options() -> None:
    class Base(Dataset[str, int]):
        def load(self) -> dict[str, int]:
            return {}

    with pytest.raises(ConfigurationError):
        dataset(name="x")(Base)  # type: ignore[type-var]


@pytest.mark.parametrize(
    "load", [lambda region: {}, lambda *, region: {}], ids=["a positional argument", "a keyword argument"]
)
def test_a_function_that_needs_arguments_is_refused(load: Any, registry: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="is called without arguments, and needs region"):
        dataset(name="prices")(load)
    assert registry == {}
