"""A password is in no message, wherever somebody has written it; and Django's debug pages need not show it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.core import checks as django_checks
from django.core.cache import caches
from django.test import RequestFactory, override_settings
from django.views.debug import ExceptionReporter

from django_etcdaero import conf
from django_etcdaero.cache.options import NAMES, NearOptions
from django_etcdaero.contrib.opentelemetry import store_attributes
from django_etcdaero.contrib.prometheus.cluster import ClusterCollector
from django_etcdaero.options import OPTION_NAMES
from django_etcdaero.runtime import runtime
from django_etcdaero.stores.aerospike import AerospikeAddress
from django_etcdaero.stores.etcd import EtcdAddress
from django_etcdaero.stores.etcd_records import EtcdRecordsAddress
from tests.management.running import declare, run

PASSWORD = "hunter2"
URLS = [
    f"etcd://root:{PASSWORD}@10.0.0.1:2379",
    f"etcd://root:{PASSWORD}@10.0.0.1:2379/shop?x=1",
    f"aerospike://root:{PASSWORD}@10.0.0.1:3000/test/set",
    f"redis://:{PASSWORD}@10.0.0.1/0",
    f"etcd://10.0.0.1?root:{PASSWORD}",
    f"etcd://10.0.0.1?{PASSWORD}@=1",
    f"etcd://10.0.0.1#{PASSWORD}",
    f"aerospike://10.0.0.1/test/root:{PASSWORD}@10.0.0.1",
    f"root:{PASSWORD}",
]
SOME = [URLS[0], *(pytest.param(url, marks=pytest.mark.slow) for url in URLS[1:])]
"""Each with a hundred settings takes seconds."""
KEY = "django_etcdaero.cache.EtcdAeroCache"


def in_etcdaero(text: str) -> Iterator[Any]:
    """Yield settings with the text in each possible place."""
    yield text
    yield [text]
    yield {text: {}}
    yield {"default": text}
    yield {"default": {}, text: {"KV": "mem:"}}
    for key in ("KV", "RECORDS", "PREFIX", "OPTIONS", "KV_USER", "KV_PASSWORD", "RECORDS_PASSWORD", text, f"X{text}"):
        for value in (text, [text], {"x": text}, text.encode()):
            yield {"default": {key: value}}
    yield {"default": {"KV": text, "PREFIX": "shop", "KV_USER": "u", "KV_PASSWORD": PASSWORD}}
    for option in (*OPTION_NAMES, text, "PASSWORD"):
        for value in (text, [text], {"x": text}):
            yield {"default": {"OPTIONS": {option: value}}}


def in_caches(text: str) -> Iterator[Any]:
    """Yield entries of ``CACHES`` with the text in each possible place."""
    for location in (text, [text], {"x": text}, f"etcdaero:{text}"):
        yield {"LOCATION": location}
    for option in (*NAMES, text, "PASSWORD"):
        for value in (text, [text], {"x": text}):
            yield {"LOCATION": "mem:", "OPTIONS": {option: value}}
    for name in (*NearOptions.__dataclass_fields__, text):
        yield {"LOCATION": "mem:", "OPTIONS": {"NEAR": {name: text}}}
    yield {"LOCATION": "mem:", "OPTIONS": text}
    for key in ("KEY_FUNCTION", "TIMEOUT", "VERSION", "KEY_PREFIX", text):
        yield {"LOCATION": "mem:", key: text}


def metrics() -> list[object]:
    return list(ClusterCollector(timeout=5.0).collect())


def traced() -> list[object]:
    """What spans say of the place of a store."""
    stores = runtime.stores("default")
    infos = [stores.kv.engine.info, stores.records.info]
    return [*infos, *(store_attributes(info.kind, info.location) for info in infos)]


STATUS: list[Callable[[], object]] = [
    lambda: run("etcdaero_status"),
    lambda: run("etcdaero_status", "--json"),
    lambda: repr(vars(runtime.stores("default"))),
]
PRODUCERS = [*STATUS, metrics, traced]
"""All that tells people of the stores of the moment; what it raises counts as nothing told."""


def said(caplog: pytest.LogCaptureFixture) -> str:
    """Return all that is told of the settings of the moment."""
    messages = django_checks.run_checks(include_deployment_checks=True)
    told: list[object] = [*messages, *((message.msg, message.hint, message.obj) for message in messages)]
    told += conf.problems()
    for call in (lambda: conf.get(), lambda: runtime.stores("default"), lambda: caches["default"].get("x")):
        try:
            found: Any = call()
        except Exception as error:
            told += [error, repr(error), error.__cause__, error.__context__ if not error.__suppress_context__ else ""]
        else:
            told += [found, repr(found)]
    for produce in STATUS:
        with suppress(Exception):
            told.append(produce())
    return "\n".join(map(str, told)) + caplog.text


@pytest.fixture(autouse=True)
def _quiet(registry: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    declare()


@pytest.mark.parametrize("text", SOME)
def test_a_password_in_any_place_of_etcdaero_is_not_told(text: str, caplog: pytest.LogCaptureFixture) -> None:
    for given in in_etcdaero(text):
        with override_settings(ETCDAERO=given):
            assert PASSWORD not in said(caplog), given


@pytest.mark.parametrize("text", SOME)
def test_a_password_in_any_place_of_a_cache_is_not_told(text: str, caplog: pytest.LogCaptureFixture) -> None:
    for given in in_caches(text):
        with override_settings(CACHES={"default": {"BACKEND": KEY, **given}}, ETCDAERO={"default": {"KV": "mem:"}}):
            assert PASSWORD not in said(caplog), given


@pytest.mark.parametrize("text", URLS)
def test_a_password_in_the_environment_is_not_told(
    text: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KV", "RECORDS", "PREFIX", "KV_USER", "KV_PASSWORD", "RECORDS_USER", "RECORDS_PASSWORD"):
        with monkeypatch.context() as patch:
            patch.setenv(f"ETCDAERO_{name}", text)
            with override_settings(ETCDAERO={}):
                assert PASSWORD not in said(caplog), name


@pytest.mark.parametrize("option", ["START", "CALL_TIMEOUT"])
def test_a_password_alone_as_the_value_of_an_option_is_not_told(option: str, caplog: pytest.LogCaptureFixture) -> None:
    with override_settings(ETCDAERO={"default": {"OPTIONS": {option: PASSWORD}}}):
        assert PASSWORD not in said(caplog)


# --- credentials in settings of their own ---------------------------------------------------------------------------

APART: dict[str, Any] = {
    "KV": "etcd://10.0.0.1:2379",
    "KV_USER": "root",
    "KV_PASSWORD": PASSWORD,
    "RECORDS": "aerospike://10.0.0.1/test/set",
    "RECORDS_USER": "shop",
    "RECORDS_PASSWORD": "s3cret",
    "PREFIX": "shop",
}


def test_credentials_may_stand_beside_the_urls_where_django_hides_the_password() -> None:
    with override_settings(ETCDAERO={"default": APART}, DEBUG=True, ROOT_URLCONF="tests.urls"):
        found = conf.get()
        assert isinstance(found.kv, EtcdAddress)
        assert isinstance(found.records, AerospikeAddress)
        assert found.kv.credentials is not None
        assert (found.kv.credentials.user, found.kv.credentials.password) == ("root", PASSWORD)
        assert found.records.credentials is not None
        assert (found.records.credentials.user, found.records.credentials.password) == ("shop", "s3cret")
        assert conf.urls_with_password() == ()
        request = RequestFactory(ETCDAERO_KV_PASSWORD=PASSWORD).get("/")
        reporter = ExceptionReporter(request, ValueError, ValueError("x"), None)
        page = reporter.get_traceback_html() + reporter.get_traceback_text()
        assert "10.0.0.1" in page
        assert PASSWORD not in page
        assert "s3cret" not in page


def test_credentials_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in APART.items():
        monkeypatch.setenv(f"ETCDAERO_{name}", value)
    monkeypatch.setenv("ETCDAERO_RECORDS", "etcd://10.0.0.1/room")
    with override_settings(ETCDAERO={}):
        found = conf.get().records
        assert isinstance(found, EtcdRecordsAddress)
        assert found.cluster.credentials is not None
        assert found.cluster.credentials.password == "s3cret"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"KV_USER": None}, "must both be given"),
        ({"KV_PASSWORD": ""}, "must both be given"),
        ({"KV": "etcd://a:b@10.0.0.1"}, "has credentials too: write them once"),
        ({"KV": "mem:"}, "mem: takes no user and no password"),
        ({"RECORDS_PASSWORD": "\n"}, "printable characters only"),
    ],
)
def test_credentials_that_cannot_be_used(changes: dict[str, Any], told: str) -> None:
    with override_settings(ETCDAERO={"default": APART | changes}):
        (problem,) = conf.problems()
        assert told in problem.message


def test_a_password_in_a_url_is_a_warning_for_deployments(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"etcd://root:{PASSWORD}@10.0.0.1"
    entries = {"default": {"PREFIX": "a", "RECORDS": "mem:"}, "other": {"KV": url, "PREFIX": "b"}}
    cache = {"BACKEND": KEY, "LOCATION": f"aerospike://shop:{PASSWORD}@10.0.0.1/test/set"}
    monkeypatch.setenv("ETCDAERO_KV", url)
    with override_settings(ETCDAERO=entries, CACHES={"default": cache}):
        found = django_checks.run_checks(tags=[django_checks.Tags.security], include_deployment_checks=True)
        ours = [message for message in found if message.id == "etcdaero.W008"]
        assert [message.msg.partition(" is a URL")[0] for message in ours] == [
            "the environment variable ETCDAERO_KV", 'ETCDAERO["other"]["KV"]', 'CACHES["default"]["LOCATION"]'
        ]  # fmt: skip
        assert "etcdaero.W008" not in [message.id for message in django_checks.run_checks()]
