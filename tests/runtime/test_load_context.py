"""What a refresh inside a request to the site hands to code of the project: nothing of the visitor's."""

from __future__ import annotations

import asyncio
import dataclasses
import decimal
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connections
from django.utils import timezone, translation

from django_etcdaero import dataset
from django_etcdaero.runtime import Runtime
from tests.records.database.serving import alias

pytestmark = pytest.mark.usefixtures("registry")

visitor: ContextVar[str] = ContextVar("visitor")
Met = tuple[str, str | None, str, str, int]
SETTINGS = (settings.LANGUAGE_CODE, settings.TIME_ZONE, "nobody", 28)
VIEWS: dict[str, Callable[[Any], Any]] = {
    "sync view": lambda dataset: dataset.refresh(force=True),
    "async view": lambda dataset: asyncio.run(_async_view(dataset)),
}


async def _async_view(dataset: Any) -> Any:
    return await sync_to_async(dataset.refresh)(force=True)


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("lazily", [False, True], ids=["mapping", "pairs"])
def test_a_visitor_leaves_no_trace_in_what_is_published(
    fresh: Runtime, view: Callable[[Any], Any], lazily: bool
) -> None:
    met: list[Met] = []

    def meet(where: str) -> None:
        language, zone = translation.get_language(), timezone.get_current_timezone_name()
        met.append((where, language, zone, visitor.get("nobody"), decimal.getcontext().prec))

    @dataclasses.dataclass(frozen=True)
    class Row:
        n: int

        def __post_init__(self) -> None:
            meet("row type")

    def validate(old: Any, new: Any) -> None:
        meet("validator")

    def prepare(rows: Any) -> None:
        meet("prepare")

    @dataset(row_type=Row, validators=[validate], prepare=prepare)
    def labels() -> Any:
        meet("load")
        if not lazily:
            return {"at": {"n": 1}}
        return pairs()

    def pairs() -> Any:
        meet("pairs")
        yield "at", {"n": timezone.localtime(datetime(2026, 1, 1, tzinfo=UTC)).hour}

    with translation.override("de"), timezone.override("Asia/Tokyo"), decimal.localcontext(prec=3):
        token = visitor.set("somebody")
        result = view(labels)
        visitor.reset(token)
        assert translation.get_language() == "de"
    assert result.ok, result.error
    assert {each[0] for each in met} == {"load", "validator", "prepare", "row type", *(["pairs"] if lazily else [])}
    assert {each[1:] for each in met} == {SETTINGS}


def test_a_refresh_in_a_request_leaves_the_databases_of_the_request_open(
    databases_allowed: None, fresh: Runtime, tmp_path: Any
) -> None:
    met: list[Any] = []

    @dataset
    def orders() -> dict[str, int]:
        met.append(connections["orders"].connection)
        return {"a": 1}

    with alias("orders", {"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / "orders.sqlite3"}):
        connections["orders"].ensure_connection()
        opened = connections["orders"].connection
        assert orders.refresh().ok
        assert met == [opened]
        assert connections["orders"].connection is opened
