"""The metrics: what is counted, what is read from the stores when somebody asks, and what is told of stores away."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import request_finished
from django.test import Client, modify_settings, override_settings
from django.urls import include, path
from prometheus_client import REGISTRY, CollectorRegistry, Counter
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from django_etcdaero import kv
from django_etcdaero.cache.counters import Counters
from django_etcdaero.contrib.prometheus import caches as caches_module
from django_etcdaero.contrib.prometheus import process
from django_etcdaero.contrib.prometheus.apps import PrometheusConfig
from django_etcdaero.contrib.prometheus.caches import COUNTED, update
from django_etcdaero.contrib.prometheus.cluster import ClusterCollector
from django_etcdaero.exceptions import FutureRevision
from django_etcdaero.runtime import runtime
from django_etcdaero.testing import failing_kv
from tests.management.running import declare, kv_away, register
from tests.pages import DOCS, examples, tables

urlpatterns = [path("metrics", include("django_etcdaero.contrib.prometheus.urls"))]

pytestmark = [pytest.mark.usefixtures("registry", "closing", "metrics")]

CACHE = {"BACKEND": "django_etcdaero.cache.EtcdAeroCache", "LOCATION": "mem:metrics", "OPTIONS": {"NEAR": {}}}


class Named(PrometheusConfig):
    django_cache_names = True
    timeout = 1.0


@pytest.fixture
def metrics() -> Iterator[None]:
    """The app, installed."""
    with modify_settings(INSTALLED_APPS={"append": f"{__name__}.Named"}), override_settings(ROOT_URLCONF=__name__):
        yield
    process.disconnect()


@pytest.fixture
def raised() -> Callable[..., float]:
    """By how much a sample has been raised since the test began."""
    before = {(each.name, tuple(sorted(each.labels.items()))): each.value
              for family in REGISTRY.collect() for each in family.samples}  # fmt: skip

    def since(name: str, **labels: str) -> float:
        value = REGISTRY.get_sample_value(name, labels) or 0.0
        return value - before.get((name, tuple(sorted(labels.items()))), 0.0)

    return since


def samples() -> dict[str, float]:
    """Return what the view shows, by name and labels."""
    answer = Client().get("/metrics")
    assert answer.status_code == 200
    found = {}
    for family in text_string_to_metric_families(answer.content.decode()):
        for each in family.samples:
            found[each.name + "".join(f" {name}={value}" for name, value in sorted(each.labels.items()))] = each.value
    return found


# --- this process ----------------------------------------------------------------------------------------------------


def test_refreshes_and_versions_are_counted(raised: Callable[..., float]) -> None:
    prices = declare()
    assert prices.refresh().ok
    assert prices.wait_ready(10).version == 1
    prices.refresh()
    prices.errors.append(RuntimeError("down"))
    prices.refresh(force=True)
    outcomes = {each: raised("etcdaero_refreshes_total", dataset="prices", outcome=each)
                for each in ("refreshed", "fresh", "failed", "unchanged")}  # fmt: skip
    assert outcomes == {"refreshed": 1, "fresh": 1, "failed": 1, "unchanged": 0}
    assert raised("etcdaero_refresh_seconds_count", dataset="prices") == 2
    assert raised("etcdaero_versions_taken_over_total", dataset="prices") >= 1


def test_calls_to_the_stores_are_timed_and_their_errors_counted(raised: Callable[..., float]) -> None:
    kv.leases()
    with pytest.raises(FutureRevision):
        kv.compact(10**12)
    runtime.stores("default").records.put(b"a", b"1")
    assert raised("etcdaero_kv_call_seconds_count", alias="default", call="lease_list") == 1
    assert raised("etcdaero_kv_call_seconds_count", alias="default", call="compact") == 1
    assert raised("etcdaero_kv_call_errors_total", alias="default", call="compact", error="FutureRevision") == 1
    assert raised("etcdaero_record_call_seconds_count", alias="default", call="put") == 1


@override_settings(CACHES={"default": CACHE})
def test_what_caches_count_is_added_at_the_end_of_a_request(raised: Callable[..., float]) -> None:
    cache = caches["default"]
    cache.set("a", 1)
    for key in ("a", "a", "b"):
        cache.get(key)
    cache.get_or_set("c", lambda: 2)
    assert raised("etcdaero_cache_hits_total", cache="default") == 0
    for _ in range(2):
        request_finished.send(sender=None)
        assert raised("etcdaero_cache_hits_total", cache="default") == 2
    assert raised("etcdaero_cache_misses_total", cache="default") == 2
    assert raised("etcdaero_cache_sets_total", cache="default") == 1
    assert raised("etcdaero_cache_loads_total", cache="default") == 1
    assert raised("etcdaero_cache_call_seconds_count", cache="default", operation="load") == 1
    assert raised("etcdaero_cache_call_seconds_sum", cache="default", operation="load") > 0
    cache.stats(reset=True)  # type: ignore[attr-defined]
    cache.get("a")
    update()
    assert raised("etcdaero_cache_hits_total", cache="default") == 3
    assert raised("django_cache_get_total", backend="etcdaero") == 5
    assert raised("django_cache_get_hits_total", backend="etcdaero") == 3
    assert raised("django_cache_get_misses_total", backend="etcdaero") == 2


@override_settings(CACHES={"default": CACHE, "bad": {"BACKEND": "nowhere.Cache"}, "wrong": CACHE | {"LOCATION": 1}})
def test_caches_that_cannot_be_made_harm_no_request(raised: Callable[..., float]) -> None:
    caches["default"].get("a")
    request_finished.send(sender=None)
    assert raised("etcdaero_cache_misses_total", cache="default") == 1


def test_each_count_of_a_cache_is_a_metric() -> None:
    assert set(COUNTED) == {each.name for each in fields(Counters)} - {"latencies", "resets"}


# --- the cluster -----------------------------------------------------------------------------------------------------


def test_facts_of_the_cluster_are_read_when_somebody_asks() -> None:
    prices = declare()
    assert samples()["etcdaero_dataset_processes dataset=prices holds=none"] == 0
    prices.refresh()
    register(1, {"prices": 1}, {"prices": "VALID"})
    register(2, {"prices": 7}, {"prices": "INTERRUPTED"})
    register(3, {"prices": None}, {"prices": "INITIALIZING"})
    register(4, {"prices": 1}, {"prices": "VALID"}, schema=2)
    prices.pin()
    prices.errors.append(RuntimeError("down"))
    prices.refresh(force=True)
    found = samples()
    assert found["etcdaero_store_up alias=default store=kv"] == 1
    assert found["etcdaero_store_up alias=default store=records"] == 1
    assert found["etcdaero_processes alias=default"] >= 4
    told = {
        name.removesuffix(" dataset=prices"): value for name, value in found.items() if name.endswith("dataset=prices")
    }
    assert told["etcdaero_dataset_version"] == told["etcdaero_dataset_rows"] == 1
    assert told["etcdaero_dataset_bytes"] > 0
    assert told["etcdaero_dataset_failures"] == told["etcdaero_dataset_pinned"] == 1
    assert told["etcdaero_dataset_locked"] == told["etcdaero_dataset_hanging_loads"] == 0
    assert "etcdaero_dataset_locked_timestamp_seconds" not in told
    moments = [told[f"etcdaero_dataset_{each}_timestamp_seconds"] for each in ("loaded", "published", "failure")]
    assert moments == sorted(moments)
    assert found["etcdaero_dataset_processes dataset=prices holds=other"] == 1
    assert found["etcdaero_dataset_processes dataset=prices holds=none"] >= 1
    assert found["etcdaero_dataset_processes dataset=prices holds=current"] >= 1
    assert found["etcdaero_dataset_processes_in_state dataset=prices state=INTERRUPTED"] == 1


def test_who_refreshes_is_told_by_the_host() -> None:
    prices = declare()
    lock = runtime.stores("default").kv.lock(prices.layout("tests").lock, ttl=30)
    with lock:
        found = samples()
        assert found["etcdaero_dataset_locked dataset=prices"] == 1
        assert found["etcdaero_dataset_locked_timestamp_seconds dataset=prices"] > 0
        assert any(name.startswith("etcdaero_dataset_refresher_info dataset=prices host=") for name in found)
    assert not any("refresher_info" in name for name in samples())


def test_a_store_that_is_away_is_told_and_what_it_knows_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    declare().refresh()
    kv_away(monkeypatch)
    found = samples()
    assert found["etcdaero_store_up alias=default store=kv"] == 0
    assert "etcdaero_store_up alias=default store=records" not in found
    assert not any(name.startswith("etcdaero_dataset_version") for name in found)
    assert "etcdaero_refreshes_total dataset=prices outcome=refreshed" in found


def test_a_store_that_does_not_answer_costs_the_time_limit_only() -> None:
    declare().refresh()
    answer = threading.Event()
    from django_etcdaero.keyvalue.interception import interpose

    class Waits:
        def __enter__(self) -> None:
            answer.wait(30)

        def __exit__(self, *error: object) -> None: ...

    end = interpose(runtime.stores("default").kv.engine, lambda call, argument: Waits())
    try:
        found = {each.name: each.samples for each in ClusterCollector(timeout=0.05).collect()}
    finally:
        answer.set()
        end()
    assert [(each.labels["store"], each.value) for each in found["etcdaero_store_up"]] == [("kv", 0)]


def test_registering_asks_no_store() -> None:
    with failing_kv(RuntimeError("asked")) as store:
        names = [each.name for each in ClusterCollector().describe()]
    assert (store.failed, len(names)) == (0, len(set(names)))


def test_nothing_is_labelled_with_a_process_and_names_follow_the_conventions() -> None:
    declare().refresh()
    for family in REGISTRY.collect():
        if family.name.startswith("etcdaero_"):
            assert family.documentation.endswith(".")
            assert not {"pid", "process"} & {label for each in family.samples for label in each.labels}
            assert not family.name.endswith(("_ms", "_age", "_count", "_kb"))


# --- the view and the app --------------------------------------------------------------------------------------------


def test_the_view_answers_safe_methods_only_and_is_not_cached() -> None:
    declare().refresh()
    client = Client()
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert answer["Content-Type"].startswith("application/openmetrics-text")
    assert answer.content.endswith(b"# EOF\n")
    families = list(openmetrics(answer.content.decode()))
    assert {each.type for each in families if each.name.startswith("etcdaero_")} == {
        "counter",
        "gauge",
        "histogram",
        "info",
    }
    assert "no-store" in answer["Cache-Control"]
    assert client.post("/metrics").status_code == 405


def test_a_missing_package_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ImproperlyConfigured, match=r"prometheus-client: .*django-etcdaero\[prometheus\]"):
        PrometheusConfig("x", sys.modules[PrometheusConfig.__module__]).ready()


def test_the_counters_of_django_prometheus_are_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("get_total", "hits_total", "misses_total", "get_fail_total")
    theirs = SimpleNamespace(**{f"django_cache_{name}": name for name in names})
    monkeypatch.setitem(sys.modules, "django_prometheus", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "django_prometheus.cache", SimpleNamespace(metrics=theirs))
    assert caches_module._named_by_django_prometheus() == {
        "hits": ["get_total", "hits_total"],
        "misses": ["get_total", "misses_total"],
        "errors": ["get_fail_total"],
    }


def test_names_of_django_prometheus_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    monkeypatch.setitem(sys.modules, "django_prometheus.cache", None)
    monkeypatch.setattr(caches_module, "Counter", lambda *given, **named: Counter(*given, registry=registry, **named))
    made: Any = caches_module._named_by_django_prometheus()
    made["errors"][0].labels("etcdaero").inc()
    assert registry.get_sample_value("django_cache_get_fail_total", {"backend": "etcdaero"}) == 1


# --- the documentation -----------------------------------------------------------------------------------------------


def test_the_metrics_page_lists_the_metrics_with_their_labels() -> None:
    described = {
        row[0].strip("`"): re.findall(r"`(\w+)`", row[1]) for row in dict(tables(DOCS / "metrics.rst"))["Metrics"]
    }
    found: dict[str, list[str]] = {}
    for module in (process, caches_module):
        for metric in (value for each in vars(module).values() for value in _metrics(each)):
            name = f"{metric._name}_total" if isinstance(metric, Counter) else metric._name
            found[name] = list(metric._labelnames)
    for family in ClusterCollector().describe():
        info = family.type == "info"
        found[family.name + "_info" * info] = [*family._labelnames, *["host"] * info]
    assert described == found


def _metrics(value: object) -> list[Any]:
    values = value.values() if isinstance(value, dict) else [value]
    return [each for each in values if isinstance(each, MetricWrapperBase) and each._name.startswith("etcdaero_")]


def test_the_alerts_of_the_page_ask_for_metrics_that_there_are() -> None:
    listed = {row[0].strip("`") for row in dict(tables(DOCS / "metrics.rst"))["Metrics"]}
    (alerts,) = (each.text for each in examples(DOCS / "metrics.rst") if each.kind == "yaml")
    asked = {
        name
        for rule in yaml.safe_load(alerts)["groups"][0]["rules"]
        for name in re.findall(r"etcdaero_\w+", rule["expr"])
    }
    assert asked
    assert asked <= listed
