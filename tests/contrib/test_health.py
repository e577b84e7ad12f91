"""The views for load balancers: what they say, to whom, and that they ask no store."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import Client, RequestFactory
from django.urls import include, path
from pytest_django import Settings

from django_etcdaero import Dataset, health_settings
from django_etcdaero.contrib.health import views
from django_etcdaero.contrib.health.fitness import fitness, unfit
from django_etcdaero.datasets.read.live import live_state
from django_etcdaero.datasets.read.reader import Reader
from django_etcdaero.datasets.state.status import State
from django_etcdaero.runtime import runtime
from django_etcdaero.testing import override_dataset
from tests.management.running import declare, kv_away
from tests.waiting import wait_until

urlpatterns = [path("health/", include("django_etcdaero.contrib.health.urls"))]

pytestmark = [pytest.mark.usefixtures("registry", "closing"), pytest.mark.urls(__name__)]


def ask(where: str, **options: Any) -> tuple[int, dict[str, Any]]:
    response = Client().get(f"/health/{where}", **options)
    return response.status_code, json.loads(response.content)


def publish(name: str = "prices", **options: Any) -> Any:
    made = declare(name, **options)
    made.refresh()
    made.wait_ready(20)
    return made


@pytest.mark.parametrize("where", ["ready", "startup"])
def test_a_process_is_fit_when_it_has_its_datasets(where: str) -> None:
    assert ask(where) == (200, {"status": "fit", "datasets": []})
    prices = declare("prices")
    code, body = ask(where)
    (told,) = body["datasets"]
    assert (code, body["status"], told["fit"], told["state"], told["version"]) == (
        503, "unfit", False, "INITIALIZING", None
    )  # fmt: skip
    assert told["reason"] == "it is not loaded in this process"
    prices.refresh()
    prices.wait_ready(20)
    code, body = ask(where)
    (told,) = body["datasets"]
    assert (code, body["status"]) == (200, "fit")
    assert (told["name"], told["fit"], told["version"], told["reason"]) == ("prices", True, 1, "")
    assert told["required"]


def test_asking_lets_a_process_become_fit_whose_reader_starts_at_the_first_use() -> None:
    declare("prices").refresh()
    assert ask("ready")[0] == 503
    wait_until(lambda: ask("ready")[0] == 200, what="the process being ready")


def test_what_is_not_required_makes_no_process_unfit(settings: Settings) -> None:
    publish("prices")
    declare("extra", required=False)
    code, body = ask("ready")
    assert code == 200
    assert [(each["name"], each["required"], each["fit"]) for each in body["datasets"]] == [
        ("extra", False, False),
        ("prices", True, True),
    ]
    settings.ETCDAERO_HEALTH = {"REQUIRED": ["extra"]}
    assert ask("ready")[0] == 503
    settings.ETCDAERO_HEALTH = {"REQUIRED": []}
    declare("another")
    assert ask("ready")[0] == 200
    assert [each.name for each in unfit(["another", "prices"])] == ["another"]


def test_rows_that_are_too_old_make_a_process_unfit() -> None:
    prices = publish(max_stale=timedelta(days=1))
    live_state(prices).refuse("the source was last read long ago")
    live_state(prices).report(state=State.STALE)
    assert [each.fit for each in fitness()] == [False]
    code, body = ask("ready")
    assert code == 503
    assert body["datasets"][0]["reason"] == "its source has not been read for longer than max_stale"


def test_an_override_of_a_test_counts() -> None:
    declare("prices")
    with override_dataset("prices", {"a": 1}):
        assert ask("ready")[0] == 200


def test_a_store_that_is_away_makes_no_process_unfit(monkeypatch: pytest.MonkeyPatch) -> None:
    publish()
    kv_away(monkeypatch)
    monkeypatch.setattr(runtime.stores("default").records, "get_many", None)
    assert ask("ready")[0] == 200
    assert ask("live")[0] == 200


def test_no_reader_is_told() -> None:
    declare("prices")
    from django.test import override_settings

    with override_settings(ETCDAERO={"default": {"KV": "mem:", "RECORDS": "mem:", "OPTIONS": {"START": "off"}}}):
        code, body = ask("ready")
        assert code == 503
        assert body["datasets"][0]["reason"] == "no reader runs in this process"
        assert ask("live") == (200, {"status": "fit", "reader": None})


def test_errors_of_the_project_are_for_no_strangers_eyes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)

    class Secret(Dataset[str, int]):
        name = "secret"

        def load(self) -> dict[str, int]:
            return {"a": 1}

        def prepare(self, rows: Any) -> Any:
            raise RuntimeError("hunter2 was refused")

    Secret.live.refresh()
    ask("ready")
    wait_until(lambda: Secret.live.status().error, what="the failure")
    response = Client().get("/health/ready")
    assert response.status_code == 503
    assert b"hunter2" not in response.content


# --- how they may be asked -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["live", "ready", "startup"])
def test_only_get_and_head_and_never_from_a_cache(where: str) -> None:
    client = Client()
    head = client.head(f"/health/{where}")
    assert head.status_code == 200
    assert head.content == b""
    response = client.get(f"/health/{where}")
    assert "no-store" in response.headers["Cache-Control"]
    assert response.headers["Content-Type"] == "application/json"
    for method in ("post", "put", "delete", "patch"):
        assert getattr(client, method)(f"/health/{where}").status_code == 405


@pytest.mark.parametrize("where", ["live", "ready", "startup"])
def test_nobody_has_to_log_in_and_no_database_is_used(where: str, settings: Settings) -> None:
    # No test database is allowed here: a query, or a transaction of ATOMIC_REQUESTS, would fail.
    middleware = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, middleware]
    assert Client().get(f"/health/{where}").status_code == 200
    view = getattr(views, where)
    assert view.login_required is False
    assert view._non_atomic_requests == {"default"}


# --- alive -----------------------------------------------------------------------------------------------------------


def test_a_process_without_a_reader_is_alive() -> None:
    runtime.close()
    assert ask("live") == (200, {"status": "fit", "reader": None})


def test_a_reader_that_comes_round_is_alive() -> None:
    publish()
    code, body = ask("live")
    assert code == 200
    assert 0 <= body["reader"]["late"] < 60


def test_a_reader_that_is_stuck_is_not(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    settings.ETCDAERO_HEALTH = {"STUCK_AFTER": 0.05}
    let_go = threading.Event()
    monkeypatch.setattr(Reader, "_round", lambda reader: let_go.wait(60) or 1.0)
    declare("prices")
    runtime.ensure_reader()
    wait_until(lambda: ask("live")[0] == 503, what="the reader being told as stuck")
    settings.ETCDAERO_HEALTH = {"STUCK_AFTER": 3600}
    assert ask("live")[0] == 200
    let_go.set()


# --- asking the stores -----------------------------------------------------------------------------------------------


class User:
    def __init__(self, *, is_staff: bool) -> None:
        self.is_active = True
        self.is_staff = is_staff


def deep(user: Any = None, *, value: str = "1") -> tuple[int, dict[str, Any]]:
    request = RequestFactory().get("/health/ready", {"deep": value})
    if user is not None:
        request.user = user
    response = views.ready(request)
    return response.status_code, json.loads(response.content)


def test_stores_are_asked_for_staff_only_unless_the_setting_says_otherwise(settings: Settings) -> None:
    assert deep() == deep(User(is_staff=False)) == (403, {"status": "forbidden"})
    assert deep(value="0")[0] == 200
    code, body = deep(User(is_staff=True))
    assert code == 200
    assert [(each["check"], each["severity"]) for each in body["stores"]] == [("kv.read", "ok"), ("records.read", "ok")]
    settings.ETCDAERO_HEALTH = {"DEEP": "all"}
    assert deep()[0] == 200
    settings.ETCDAERO_HEALTH = {"DEEP": "off"}
    assert deep(User(is_staff=True))[0] == 403


def test_a_store_that_does_not_answer_is_told_there(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ETCDAERO_HEALTH = {"DEEP": "all"}
    kv_away(monkeypatch)
    code, body = deep()
    assert (code, body["status"]) == (503, "unfit")
    assert [each["severity"] for each in body["stores"]] == ["error", "ok"]


# --- the setting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "must be a dict, not list"),
        ({"REQIRED": []}, "unknown key 'REQIRED'; did you mean 'REQUIRED'?"),
        ({"REQUIRED": "prices"}, "['REQUIRED'] must be a list of names"),
        ({"REQUIRED": [3]}, "['REQUIRED'] must be a list of names"),
        ({"REQUIRED": ["prizes"]}, "no such dataset: 'prizes'; did you mean 'prices'?"),
        ({"DEEP": True}, "['DEEP'] must be one of 'staff', 'all', 'off', not True"),
        ({"STUCK_AFTER": 0}, "['STUCK_AFTER'] must be a number of seconds above 0"),
        ({"DEEP_TIMEOUT": "3"}, "['DEEP_TIMEOUT'] must be a number of seconds above 0"),
    ],
)
def test_a_wrong_setting_is_told_and_has_its_default(settings: Settings, given: Any, told: str) -> None:
    declare("prices")
    settings.ETCDAERO_HEALTH = given
    (message,) = [each for each in run_checks(tags=["etcdaero"]) if each.id == "etcdaero.E010"]
    assert told in message.msg
    if "prizes" not in str(given):
        assert health_settings.read() == health_settings.HealthSettings()
    assert ask("live")[0] == 200


def test_a_right_setting_is_taken(settings: Settings) -> None:
    declare("prices")
    settings.ETCDAERO_HEALTH = {"REQUIRED": ["prices"], "DEEP": "off", "DEEP_TIMEOUT": 1, "STUCK_AFTER": 60}
    assert [each for each in run_checks(tags=["etcdaero"]) if each.id == "etcdaero.E010"] == []
    assert health_settings.read() == health_settings.HealthSettings(
        REQUIRED=("prices",), DEEP="off", DEEP_TIMEOUT=1, STUCK_AFTER=60
    )
    del settings.ETCDAERO_HEALTH
    assert health_settings.read() == health_settings.HealthSettings()


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    runtime.restart()
    yield
    runtime.restart()
