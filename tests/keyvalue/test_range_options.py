"""The options of a range stand once, and are checked once, wherever a range is asked for."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue import KV, SortOrder, SortTarget, ops
from django_etcdaero.keyvalue.arguments import PageOptions, RangeOptions
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.values import RangeRequest

Ask = Callable[[KV, dict[str, Any]], object]

RANGES: dict[str, Ask] = {
    "get": lambda kv, options: ops.get("a", **options),
    "range": lambda kv, options: kv.range("a", **options),
    "arange": lambda kv, options: asyncio.run(kv.arange("a", **options)),
}
PAGES: dict[str, Ask] = {
    "iterate": lambda kv, options: kv.iterate("a", **options),
    "aiterate": lambda kv, options: kv.aiterate("a", **options),
}


@pytest.fixture
def kv(engine: EmbeddedEngine) -> KV:
    return KV(engine)


def test_the_options_are_those_of_the_request_and_prefix() -> None:
    fields = {field.name for field in dataclasses.fields(RangeRequest)}
    assert set(RangeOptions.__annotations__) == fields - {"key", "range_end"} | {"prefix"}
    assert set(PageOptions.__annotations__) < set(RangeOptions.__annotations__)


@pytest.mark.parametrize("ask", (RANGES | PAGES).values(), ids=RANGES | PAGES)
def test_an_unknown_option_is_named(kv: KV, ask: Ask) -> None:
    with pytest.raises(TypeError, match="'limits'"):
        ask(kv, {"limits": 1})


@pytest.mark.parametrize("ask", PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("option", sorted(set(RangeOptions.__annotations__) - set(PageOptions.__annotations__)))
def test_pages_take_no_other_options_of_ranges(kv: KV, ask: Ask, option: str) -> None:
    with pytest.raises(TypeError, match=repr(option)):
        ask(kv, {option: 0})


@pytest.mark.parametrize("ask", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("option", sorted(set(RangeOptions.__annotations__) - {"prefix"}))
def test_a_wrong_value_is_refused_naming_the_option(kv: KV, ask: Ask, option: str) -> None:
    with pytest.raises(InvalidRequest, match=option):
        ask(kv, {option: "x"})


def test_numbers_will_do_for_orders() -> None:
    request = ops.get("a", sort_order=1, sort_target=4)  # type: ignore[arg-type]
    assert (request.sort_order, request.sort_target) == (SortOrder(1), SortTarget(4))
    assert isinstance(request.sort_order, SortOrder)


def test_an_option_that_does_not_exist_is_told_with_those_that_do(kv: KV) -> None:
    with pytest.raises(TypeError, match=r"a range has no option 'prefx'; known: count_only, .*, prefix, "):
        kv.range("a", prefx=True)  # type: ignore[call-arg]
