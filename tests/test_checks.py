from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.checks.registry import registry
from pytest_django import Settings

from django_etcdaero import checks
from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.registry import datasets
from django_etcdaero.model_datasets.dataset import ModelDataset

MEMORY = {"KV": "mem:", "RECORDS": "mem:"}


@pytest.fixture(autouse=True)
def project(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ETCDAERO_KV", "ETCDAERO_RECORDS", "ETCDAERO_PREFIX", "GRPC_ENABLE_FORK_SUPPORT"):
        monkeypatch.delenv(name, raising=False)
    settings.BASE_DIR = Path("/srv/shop")
    checks.register_all()


def found(*, deploy: bool = False) -> list[CheckMessage]:
    return run_checks(tags=[checks.TAG], include_deployment_checks=deploy)


def ids(*, deploy: bool = False) -> list[str]:
    return [str(message.id).removeprefix("etcdaero.") for message in found(deploy=deploy)]


def files(kv: str, records: str, prefix: str = "shop") -> dict[str, Any]:
    return {"KV": f"sqlite:////{kv}", "RECORDS": f"sqlite:////{records}", "PREFIX": prefix}


def declare(monkeypatch: pytest.MonkeyPatch, using: str) -> None:
    live = SimpleNamespace(forget=lambda: None)
    dataset: Any = SimpleNamespace(name="prices", using=using, origin="shop.datasets.Prices", _live_state=live)
    monkeypatch.setitem(datasets, "prices", dataset)


def test_a_fresh_project_has_nothing_to_complain_about(settings: Settings) -> None:
    settings.ETCDAERO = {}
    assert found() == []


def test_registering_twice_reports_once(settings: Settings) -> None:
    checks.register_all()
    settings.ETCDAERO = []
    assert ids() == ["E001"]


@pytest.mark.parametrize(
    "etcdaero", [[], {"default": 1}, {"default": {"X": 1}}, {"a": MEMORY}, {"default": {}, "": {}}]
)
def test_e001_wrong_structure(settings: Settings, etcdaero: Any) -> None:
    settings.ETCDAERO = etcdaero
    assert ids(deploy=True)[:1] == ["E001"]
    assert {number for number in ids() if number.startswith("E")} == {"E001"}


def test_e002_wrong_url(settings: Settings) -> None:
    settings.ETCDAERO = {"default": {"KV": "nope://me:hunter2@h", "RECORDS": ""}}
    assert ids() == ["E002", "E002"]
    assert "hunter2" not in str(found())


@pytest.mark.parametrize(
    ("key", "url"),
    [
        ("KV", "etcd://h1,h1:2379"),
        ("KV", "etcd://h_-"),
        ("KV", "http://h1,https://h2"),
        ("RECORDS", "aerospike://h1/ns/s%20t"),
        ("RECORDS", "aerospike://h1/a;b/set"),
        ("RECORDS", f"aerospike://h1/{'n' * 40}/set"),
    ],
)
def test_e002_what_a_client_would_refuse_later(settings: Settings, key: str, url: str) -> None:
    settings.ETCDAERO = {"default": {**MEMORY, "PREFIX": "shop", key: url}}
    assert ids() == ["E002"]
    assert found()[0].msg.startswith(f'ETCDAERO["default"]["{key}"] ')


def test_e002_wrong_url_in_the_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETCDAERO_KV", "nope:")
    settings.ETCDAERO = {}
    assert ids() == ["E002"]
    assert "ETCDAERO_KV" in found()[0].msg


def test_e003_wrong_prefix(settings: Settings) -> None:
    settings.ETCDAERO = {"default": {"PREFIX": "a b"}}
    assert ids() == ["E003"]


@pytest.mark.parametrize("options", [{"START": "sometimes"}, {"LOCK_TTL": 1}, {"LOCKTTL": 5}, ["START"]])
def test_e004_wrong_option(settings: Settings, options: Any) -> None:
    settings.ETCDAERO = {"default": {"OPTIONS": options}}
    assert ids() == ["E004"]


def test_e005_dataset_with_an_unknown_alias(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ETCDAERO = {"default": MEMORY, "search": MEMORY | {"PREFIX": "search"}}
    declare(monkeypatch, using="serch")
    (message,) = found()
    assert message.id == "etcdaero.E005"
    assert "'prices'" in message.msg
    assert "did you mean 'search'?" in message.msg
    assert message.obj == "shop.datasets.Prices"


@pytest.mark.parametrize(
    ("etcdaero", "number"), [({"default": MEMORY}, None), ({"default": {"KV": ""}}, "E002"), ({"a": MEMORY}, "E001")]
)
def test_e005_is_not_reported_for_an_alias_that_is_right_or_reported_already(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, etcdaero: Any, number: str | None
) -> None:
    settings.ETCDAERO = etcdaero
    declare(monkeypatch, using="default")
    assert ids() == ([number] if number else [])


@pytest.mark.parametrize(
    ("etcdaero", "count"),
    [
        ({"default": files("a", "b")}, 0),
        ({"default": files("a", "a")}, 1),
        ({"default": files("a", "x/../a")}, 1),
        ({"default": files("a", "b"), "other": files("a", "b")}, 2),
        ({"default": files("a", "b"), "other": files("b", "c")}, 1),
        ({"default": files("a", "b"), "other": files("b", "c", "other")}, 1),
        ({"default": files("a", "b"), "other": files("a", "b", "other")}, 0),
        ({"default": files("a", "b"), "other": files("a", "c", "shop/eu")}, 1),
        ({"default": files("a", "b"), "other": files("a", "c", "shop2")}, 0),
        ({"default": {}, "other": {}}, 0),
        ({"default": MEMORY}, 0),
    ],
)
def test_e006_one_file_for_two_stores(settings: Settings, etcdaero: Any, count: int) -> None:
    settings.ETCDAERO = etcdaero
    assert ids() == ["E006"] * count


@pytest.mark.parametrize(
    ("kv", "records", "count"),
    [
        ("etcd://10.0.0.1,10.0.0.2", None, 1),
        ("etcds://kv.example.org", "mem:", 1),
        ("etcd://127.0.0.1,10.0.0.2", "sqlite:///records.sqlite3", 1),
        ("etcd://127.0.0.1,localhost,[::1]", None, 0),
        ("etcd://10.0.0.1", "etcd://10.0.0.1", 0),
        ("etcd://10.0.0.1", "aerospike://10.0.0.2/namespace/set", 0),
        ("mem:", "aerospike://10.0.0.2/namespace/set", 0),
    ],
)
def test_e007_announcements_for_all_hosts_and_rows_for_one(
    settings: Settings, kv: str, records: str | None, count: int
) -> None:
    other = {"KV": kv, "PREFIX": "other"} | ({} if records is None else {"RECORDS": records})
    settings.ETCDAERO = {"default": MEMORY, "other": other}
    assert ids() == ["E007"] * count
    for message in found():
        assert message.msg.startswith('ETCDAERO["other"]["RECORDS"] is ')
        assert "which is on this host only" in message.msg


def test_w001_memory_in_a_deployment(settings: Settings) -> None:
    settings.ETCDAERO = {"default": MEMORY}
    assert ids() == []
    assert ids(deploy=True) == ["W001", "W001"]
    settings.ETCDAERO = {"default": {"RECORDS": "mem:"}}
    assert ids(deploy=True) == ["W001", "W002"]


def test_w002_a_file_in_a_deployment(settings: Settings) -> None:
    settings.ETCDAERO = {"default": {"KV": "mem:"}}
    assert ids() == []
    assert ids(deploy=True) == ["W001", "W002"]


@pytest.mark.parametrize("value", ["0", "false", "False", "no"])
def test_w003_fork_support_is_off(settings: Settings, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    settings.ETCDAERO = {}
    monkeypatch.setenv("GRPC_ENABLE_FORK_SUPPORT", value)
    assert ids() == ["W003"]


@pytest.mark.parametrize("value", ["1", "true", ""])
def test_w003_is_silent_when_fork_support_is_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    settings.ETCDAERO = {}
    monkeypatch.setenv("GRPC_ENABLE_FORK_SUPPORT", value)
    assert ids() == []


def test_w004_an_option_of_the_reader_for_another_alias(settings: Settings) -> None:
    settings.ETCDAERO = {"default": MEMORY, "other": {**MEMORY, "PREFIX": "other", "OPTIONS": {"SPLAY": 1.0}}}
    assert ids() == ["W004"]
    assert 'ETCDAERO["other"]["OPTIONS"]["SPLAY"]' in found()[0].msg
    settings.ETCDAERO = {**settings.ETCDAERO, "default": {**MEMORY, "OPTIONS": {"SPLAY": 1.0}}}
    assert ids() == []


def test_every_message_has_a_hint(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRPC_ENABLE_FORK_SUPPORT", "0")
    declare(monkeypatch, using="nowhere")
    settings.ETCDAERO = {
        "default": {"KV": "x:", "PREFIX": "", "OPTIONS": {"START": 1}, "Y": 1},
        "files": files("a", "a"),
        "memory": MEMORY,
        "split": {"KV": "etcd://10.0.0.1", "PREFIX": "split"},
    }
    messages = found(deploy=True)
    assert {str(message.id) for message in messages} == {
        *(f"etcdaero.E00{number}" for number in range(1, 8)),
        *(f"etcdaero.W00{number}" for number in range(1, 4)),
    }
    assert all(message.hint for message in messages)


def test_checks_open_no_file(settings: Settings, tmp_path: Path) -> None:
    settings.BASE_DIR = tmp_path
    settings.ETCDAERO = {}
    assert ids(deploy=True) == ["W002", "W002"]
    assert list(tmp_path.iterdir()) == []


def test_only_the_deployment_checks_wait_for_deploy() -> None:
    always: set[Any] = {check for check in registry.registered_checks if checks.TAG in check.tags}
    on_deploy: set[Any] = {check for check in registry.deployment_checks if checks.TAG in check.tags}
    assert on_deploy == {checks.check_reach, checks.check_caches_for_deployment, checks.check_passwords}
    assert always == {
        checks.check_settings,
        checks.check_dataset_aliases,
        checks.check_shared_files,
        checks.check_split_stores,
        checks.check_fork_support,
        checks.check_reader_options,
        checks.check_dataset_attributes,
        checks.check_caches,
        checks.check_health,
    }


@pytest.mark.parametrize(
    ("attribute", "meant"),
    [
        ("refresh_evry", "refresh_every"),
        ("validator", "validators"),
        ("max_stael", "max_stale"),
        ("prepair", "prepare"),
    ],
)
def test_w005_an_option_of_a_dataset_is_mistyped(
    settings: Settings, registry: object, attribute: str, meant: str
) -> None:
    settings.ETCDAERO = {"default": MEMORY}
    type("Base", (Dataset,), {attribute: None})
    type("Prices", (Dataset,), {"name": "prices", "load": dict, attribute: None, "__module__": "shop.datasets"})
    (message,) = found()
    assert message.id == "etcdaero.W005"
    assert repr(attribute) in message.msg
    assert f"{meant!r}?" in str(message.hint)
    assert message.obj == "shop.datasets.Prices"


@pytest.mark.parametrize(
    ("attribute", "meant"), [("select_realted", "select_related"), ("fieldz", "fields"), ("index_es", "indexes")]
)
def test_w005_an_option_of_a_dataset_of_a_model_is_mistyped(
    settings: Settings, registry: object, attribute: str, meant: str
) -> None:
    settings.ETCDAERO = {"default": MEMORY}
    type("Users", (ModelDataset,), {"name": "users", "model": "auth.User", "fields": ["username"], attribute: ()})
    (message,) = found()
    assert message.id == "etcdaero.W005"
    assert f"{meant!r}?" in str(message.hint)


def test_w005_is_not_reported_for_attributes_of_the_users_own(settings: Settings, registry: object) -> None:
    settings.ETCDAERO = {"default": MEMORY}
    own = ("loader", "row", "names", "keeper", "source", "url", "query", "fetch_page", "timeout", "_refresh_evry")
    type("Prices", (Dataset,), {"name": "prices", "load": dict, "refresh_every": None, **dict.fromkeys(own)})
    assert ids() == []
