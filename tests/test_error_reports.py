"""Django's debug pages, error mails and diffsettings do not show passwords where one of the cures is used.

A debug page shows the variables of every frame of our own code too, of chained errors as well.
"""

from __future__ import annotations

import io
import logging
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pprint import pformat
from typing import Any

import environ
import pytest
from django.core import checks as django_checks
from django.core.cache import caches
from django.core.management import call_command
from django.test import Client, RequestFactory, override_settings
from django.urls import path
from django.utils.log import AdminEmailHandler
from django.views.debug import ExceptionReporter, get_default_exception_reporter_filter

from django_etcdaero import Secret, conf, kv
from django_etcdaero.runtime import runtime
from django_etcdaero.secret import hide_passwords
from tests.test_passwords import PRODUCERS

PASSWORD = "hunter2"
NAME = "django_etcdaero.cache.EtcdAeroCache"
FILTER = "django_etcdaero.error_reports.PasswordFilter"
CLOSED = "127.0.0.1:1"
"""Nobody listens on this port."""

ETCD = f"etcd://root:{PASSWORD}@{CLOSED}"
AEROSPIKE = f"aerospike://root:{PASSWORD}@{CLOSED}/test/set"
APART = {"KV_USER": "root", "KV_PASSWORD": PASSWORD, "RECORDS_USER": "root", "RECORDS_PASSWORD": PASSWORD}


def configured(make: Callable[[str], str], *, apart: bool = False) -> dict[str, Any]:
    """Return settings with the password in all places that the cure is for."""
    alias: dict[str, Any] = {"PREFIX": "shop", "OPTIONS": {"CALL_TIMEOUT": 0.2}}
    if apart:
        alias |= APART | {"KV": f"etcd://{CLOSED}", "RECORDS": f"aerospike://{CLOSED}/test/set"}
        location = "etcdaero:default"
    else:
        alias |= {"KV": make(ETCD), "RECORDS": make(AEROSPIKE)}
        location = make(ETCD + "/room")
    options = {"CALL_TIMEOUT": 0.2}
    return {
        "ETCDAERO": {"default": alias},
        "CACHES": {"default": {"BACKEND": NAME, "LOCATION": location, "OPTIONS": options}},
    }


CURES = {
    "Secret": configured(Secret),
    "apart": configured(str, apart=True),
    "filter": configured(str) | {"DEFAULT_EXCEPTION_REPORTER_FILTER": FILTER},
}


@pytest.fixture(autouse=True)
def _filter_of_the_settings() -> Iterator[None]:
    """Django keeps the first filter that it makes."""
    get_default_exception_reporter_filter.cache_clear()
    yield
    get_default_exception_reporter_filter.cache_clear()


@pytest.fixture(params=CURES)
def cure(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The settings of one cure, and stores that are what these say."""
    monkeypatch.setattr(runtime.open_stores, "memory_only", False)
    with override_settings(
        **CURES[request.param], DEBUG=True, ROOT_URLCONF=__name__, ADMINS=[("a", "a@example.com")], MANAGERS=[]
    ):
        yield request.param
        runtime.close()


def read_kv() -> object:
    return kv.get("a")


def read_records() -> object:
    return runtime.stores("default").records.get(b"a")


def read_cache() -> object:
    return caches["default"].get("a")


FAILING = {"kv": read_kv, "records": read_records, "cache": read_cache}
urlpatterns = [path(name, lambda request, call=call: call()) for name, call in FAILING.items()]  # type: ignore[misc]


@contextmanager
def failing(name: str) -> Iterator[tuple[Any, Any, Any]]:
    try:
        FAILING[name]()
    except Exception:
        yield sys.exc_info()
    else:
        raise AssertionError("it did not fail")


def debug_page(name: str) -> str:
    answer = Client(raise_request_exception=False).get(f"/{name}")
    assert answer.status_code == 500
    return answer.content.decode()


def debug_text(name: str) -> str:
    with failing(name) as error:
        return ExceptionReporter(RequestFactory(ETCDAERO_PASSWORD=PASSWORD).get("/"), *error).get_traceback_text()


class Mailing(AdminEmailHandler):
    """Keeps the mail that it would send."""

    sent = ""

    def send_mail(self, subject: str, message: str, *args: Any, **options: Any) -> None:
        self.sent += f"{subject}\n{message}\n{options['html_message']}"


def error_mail(name: str) -> str:
    handler = Mailing(include_html=True)
    with failing(name) as error:
        record = logging.LogRecord("django.request", logging.ERROR, __file__, 1, "failed: %s", (error[1],), error)
        record.request = RequestFactory().get("/")  # type: ignore[attr-defined]
        handler.emit(record)
    return handler.sent


@pytest.mark.parametrize(
    ("report", "name"),
    [*((debug_page, name) for name in FAILING), (debug_text, "kv"), (error_mail, "records")],
)
def test_no_report_of_an_error_in_a_store_shows_the_password(
    cure: str, report: Callable[[str], str], name: str
) -> None:
    text = report(name)
    assert "ETCDAERO" in text  # the settings are in it
    assert "Traceback" in text
    assert PASSWORD not in text, where(text)


def where(text: str) -> str:
    place = text.index(PASSWORD)
    return text[max(0, place - 400) : place + 100]


def test_nothing_that_tells_of_the_stores_tells_the_password(cure: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for produce in PRODUCERS:
        with suppress(Exception):
            assert PASSWORD not in str(produce()), produce
    assert PASSWORD not in caplog.text


def test_without_a_cure_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with override_settings(**configured(str), DEBUG=True):
        text = ExceptionReporter(None, ValueError, ValueError("x"), None).get_traceback_text()
    assert PASSWORD in text


# --- Secret ----------------------------------------------------------------------------------------------------------


def test_a_secret_is_the_text_but_for_its_repr() -> None:
    url = Secret(ETCD)
    assert url == ETCD
    assert f"{url}" == str(url) == ETCD
    assert repr(url) == f"'etcd://***@{CLOSED}'"
    assert repr(Secret(PASSWORD)) == "'***'"
    assert pickle.loads(pickle.dumps(url)) == url
    assert PASSWORD not in pformat({"a": [url, (url,)]}) + "%r" % url  # noqa: UP031 - as logging formats it


def test_a_secret_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_ETCD", ETCD)
    assert repr(environ.Env()("SHOP_ETCD", cast=Secret)) == f"'etcd://***@{CLOSED}'"


def test_a_secret_may_stand_wherever_a_text_may() -> None:
    with override_settings(ETCDAERO={"default": {name: Secret(value) for name, value in APART.items()} | {
        "KV": Secret(f"etcd://{CLOSED}"), "RECORDS": Secret(f"aerospike://{CLOSED}/test/set"), "PREFIX": Secret("shop")
    }}):  # fmt: skip
        assert conf.problems() == ()
        assert conf.get().prefix == "shop"


def test_diffsettings_shows_no_secret() -> None:
    out = io.StringIO()
    with override_settings(**CURES["Secret"]):
        call_command("diffsettings", "--all", stdout=out)
    assert f"etcd://***@{CLOSED}" in out.getvalue()
    assert PASSWORD not in out.getvalue()


START = """
import sys
from django.conf import settings

aliases = {"default": {"KV": sys.argv[1], "PREFIX": "a"}, "b": {"KV_PASSWORD": sys.argv[2]}, "c": None}
caches = {"default": {"BACKEND": "django_etcdaero.cache.EtcdAeroCache", "LOCATION": sys.argv[1] + "/room"}}
settings.configure(BASE_DIR="/nowhere", INSTALLED_APPS=["django_etcdaero"], ETCDAERO=aliases, CACHES=caches)
import django

django.setup()
print(settings.ETCDAERO, settings.CACHES)
from django_etcdaero import conf

print(conf.get().kv.credentials.password)
"""


def test_the_app_makes_secrets_of_what_it_finds_in_the_settings() -> None:
    command = [sys.executable, "-W", "error", "-c", START, ETCD, PASSWORD]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    shown, _, used = done.stdout.rpartition("'}}")
    assert used.strip() == PASSWORD  # which is what the stores are opened with
    assert shown.count(f"etcd://***@{CLOSED}") == 2
    assert "'KV_PASSWORD': '***'" in shown
    assert PASSWORD not in shown


def test_settings_of_another_form_and_of_others_are_left_alone() -> None:
    redis = {
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": f"redis://:{PASSWORD}@h"}
    }
    hide_passwords([1], redis)
    hide_passwords(None, {"default": None})
    assert type(redis["default"]["LOCATION"]) is str
    told = Secret("x")
    entry: dict[str, Any] = {"KV_PASSWORD": told, "RECORDS_PASSWORD": 1, "KV": "etcd://a"}
    hide_passwords({"default": entry}, {})
    assert entry["KV_PASSWORD"] is told
    assert type(entry["KV"]) is str


# --- the filter ------------------------------------------------------------------------------------------------------


@override_settings(DEFAULT_EXCEPTION_REPORTER_FILTER=FILTER, DEBUG=True, DATABASE_URL=f"postgres://u:{PASSWORD}@h/x")
def test_the_filter_hides_other_urls_too_and_the_environment() -> None:
    def fail(url: str, nested: object) -> None:
        raise ValueError("x")

    try:
        fail(f"redis://:{PASSWORD}@h", {"a": [f"amqp://u:p/{PASSWORD}@h//"]})
    except ValueError:
        error = sys.exc_info()
    request = RequestFactory(ETCDAERO_KV=ETCD, SHOP=b"x").get("/")
    page = ExceptionReporter(request, *error).get_traceback_html()
    for text in (page, ExceptionReporter(request, *error).get_traceback_text()):
        shown = text.replace(f'{{"a": [f"amqp://u:p/{PASSWORD}', "")
        assert PASSWORD not in shown, where(shown)
        assert "postgres://***@h/x" in shown
        assert f"etcd://***@{CLOSED}" in shown
    assert "redis://***@h" in page  # a local variable


@override_settings(DEFAULT_EXCEPTION_REPORTER_FILTER=FILTER, DEBUG=True)
def test_the_filter_shows_all_else_as_before() -> None:
    text = ExceptionReporter(None, ValueError, ValueError("x"), None).get_traceback_text()
    assert "tests.urls" in text


# --- the check -------------------------------------------------------------------------------------------------------


def warned() -> bool:
    found = django_checks.run_checks(tags=[django_checks.Tags.security], include_deployment_checks=True)
    return "etcdaero.W008" in [message.id for message in found]


@pytest.mark.parametrize("name", CURES)
def test_no_warning_where_a_cure_is_used(name: str) -> None:
    with override_settings(**CURES[name]):
        assert not warned()


def test_a_warning_where_none_is_used_or_another_filter() -> None:
    with override_settings(**configured(str)):
        assert warned()
        with override_settings(DEFAULT_EXCEPTION_REPORTER_FILTER="django.views.debug.SafeExceptionReporterFilter"):
            assert warned()
        with override_settings(DEFAULT_EXCEPTION_REPORTER_FILTER="nowhere.Filter"):
            assert warned()
