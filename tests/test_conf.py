from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from pytest_django import Settings

from django_etcdaero import conf
from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.options import Options
from django_etcdaero.records.memory.store import MemoryStore
from django_etcdaero.records.store import RecordStore
from django_etcdaero.schemes import ENGINES, STORES
from django_etcdaero.stores.address import Address, Reach
from django_etcdaero.stores.local import FileAddress, MemoryAddress

MEMORY = {"KV": "mem:", "RECORDS": "mem:"}


@pytest.fixture(autouse=True)
def project(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    for name in ("KV", "RECORDS", "PREFIX"):
        monkeypatch.delenv(f"ETCDAERO_{name}", raising=False)
    settings.BASE_DIR = Path("/srv/shop")
    return settings


def refusal(etcdaero: Any, alias: str = "default") -> str:
    """Return the message that ``ETCDAERO = etcdaero`` is refused with."""
    with override_settings(ETCDAERO=etcdaero), pytest.raises(conf.SettingsError) as caught:
        conf.get(alias)
    return str(caught.value)


def option_refusal(name: str, value: object) -> str:
    return refusal({"default": {"OPTIONS": {name: value}}})


# --- what is said and what is left out -------------------------------------------------------------------------------


def test_everything_that_is_said_is_taken(settings: Settings) -> None:
    settings.ETCDAERO = {
        "default": {
            "KV": "mem:a",
            "RECORDS": "sqlite:////var/lib/r.sqlite3",
            "PREFIX": "shop/staging",
            "OPTIONS": {
                "START": "lazy",
                "POLL_INTERVAL": 7,
                "LOCK_TTL": 20,
                "SESSION_TTL": 40,
                "CALL_TIMEOUT": 1.5,
                "SPLAY": 0,
            },
        }
    }
    found = conf.get()
    assert found.alias == "default"
    assert found.kv.safe == "mem:a"
    assert found.records.path == Path("/var/lib/r.sqlite3")
    assert found.prefix == "shop/staging"
    assert found.options == Options(
        START="lazy", POLL_INTERVAL=7.0, LOCK_TTL=20, SESSION_TTL=40, CALL_TIMEOUT=1.5, SPLAY=0.0
    )
    assert type(found.options.POLL_INTERVAL) is float


@pytest.mark.parametrize("etcdaero", [{}, {"default": {}}])
def test_a_fresh_project_gets_files_below_its_base_directory(settings: Settings, etcdaero: Any) -> None:
    settings.ETCDAERO = etcdaero
    found = conf.get()
    assert found.kv.path == Path("/srv/shop/.etcdaero/kv.sqlite3")
    assert found.records.path == Path("/srv/shop/.etcdaero/records.sqlite3")
    assert found.prefix == "etcdaero"
    assert found.options == Options()


def test_a_project_without_the_setting_gets_the_defaults(settings: Settings) -> None:
    del settings.ETCDAERO
    assert conf.aliases() == ("default",)
    assert conf.get().kv.path == Path("/srv/shop/.etcdaero/kv.sqlite3")


def test_the_base_directory_may_be_a_str(settings: Settings) -> None:
    settings.BASE_DIR = "/srv/other"
    settings.ETCDAERO = {}
    assert conf.get().kv.path == Path("/srv/other/.etcdaero/kv.sqlite3")


def test_without_a_base_directory_a_relative_file_is_refused(settings: Settings) -> None:
    settings.BASE_DIR = None
    assert "BASE_DIR" in refusal({})


def test_further_aliases_get_files_of_their_own(settings: Settings) -> None:
    settings.ETCDAERO = {"default": {}, "search": {}}
    stores = [conf.get(alias) for alias in conf.aliases()]
    paths = {store.kv.path for store in stores} | {store.records.path for store in stores}
    assert len(paths) == 4
    assert conf.get("search").kv.path == Path("/srv/shop/.etcdaero/search-kv.sqlite3")


# --- environment -----------------------------------------------------------------------------------------------------


def test_the_environment_fills_what_the_default_alias_leaves_out(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETCDAERO_KV", "mem:env")
    monkeypatch.setenv("ETCDAERO_RECORDS", "mem:env")
    monkeypatch.setenv("ETCDAERO_PREFIX", "from-env")
    settings.ETCDAERO = {"default": {"RECORDS": "mem:said"}, "search": {}}
    assert conf.get().kv.safe == "mem:env"
    assert conf.get().records.safe == "mem:said"
    assert conf.get().prefix == "from-env"
    assert isinstance(conf.get("search").kv, FileAddress)
    assert conf.get("search").prefix == "etcdaero"


def test_the_environment_may_refer_to_another_variable(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETCDAERO_KV", "$STORE_URL")
    monkeypatch.setenv("STORE_URL", "mem:other")
    settings.ETCDAERO = {}
    assert conf.get().kv.safe == "mem:other"


@pytest.mark.parametrize("value", ["", "$STORE_URL"])
def test_an_empty_variable_is_an_error_and_not_the_default(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORE_URL", raising=False)
    monkeypatch.setenv("ETCDAERO_KV", value)
    assert refusal({}).startswith("the environment variable ETCDAERO_KV is empty")


def test_an_error_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETCDAERO_PREFIX", "a b")
    assert refusal({}).startswith("the environment variable ETCDAERO_PREFIX must be")


# --- refusals --------------------------------------------------------------------------------------------------------


def test_errors_are_both_djangos_and_ours() -> None:
    assert issubclass(conf.SettingsError, ImproperlyConfigured)
    assert issubclass(conf.SettingsError, ConfigurationError)


@pytest.mark.parametrize(
    ("etcdaero", "message"),
    [
        (None, "ETCDAERO must be a dict of aliases, not NoneType"),
        ([], "ETCDAERO must be a dict of aliases, not list"),
        ({"other": MEMORY}, "ETCDAERO must have the alias 'default'"),
        ({"default": "mem:"}, 'ETCDAERO["default"] must be a dict, not str'),
        ({"default": {"kv": "mem:"}}, "ETCDAERO[\"default\"] has the unknown key 'kv'; did you mean 'KV'?"),
        ({"default": {"RECORD": "mem:"}}, "did you mean 'RECORDS'?"),
        ({"default": {7: "mem:"}}, "has the unknown key 7; known: KV, RECORDS, PREFIX, OPTIONS"),
        ({"default": {"KV": None}}, 'ETCDAERO["default"]["KV"] must be a URL (str), not NoneType'),
        ({"default": {"RECORDS": "men:"}}, 'ETCDAERO["default"]["RECORDS"] \'men:\' has no known URL scheme'),
        ({"default": {"PREFIX": 5}}, 'ETCDAERO["default"]["PREFIX"] must be a str, not int'),
        ({"default": {"OPTIONS": []}}, 'ETCDAERO["default"]["OPTIONS"] must be a dict, not list'),
    ],
)
def test_a_wrong_setting_is_named(etcdaero: Any, message: str) -> None:
    assert message in refusal(etcdaero)


@pytest.mark.parametrize("prefix", ["", "a b", "/shop", "shop/", "a//b", "shöp", "shop\n", "x" * 201])
def test_a_prefix_that_cannot_begin_keys_is_refused(prefix: str) -> None:
    assert 'ETCDAERO["default"]["PREFIX"] must be a str of' in refusal({"default": {"PREFIX": prefix}})


@pytest.mark.parametrize("prefix", ["a", "shop", "shop/staging-2/eu.west_1", "x" * 200])
def test_a_prefix_of_the_allowed_letters_is_taken(settings: Settings, prefix: str) -> None:
    settings.ETCDAERO = {"default": {"PREFIX": prefix}}
    assert conf.get().prefix == prefix


@pytest.mark.parametrize("alias", ["", "a b", "../x", 5])
def test_an_alias_that_cannot_name_a_file_is_refused(settings: Settings, alias: Any) -> None:
    settings.ETCDAERO = {"default": MEMORY, alias: MEMORY}
    (problem,) = conf.problems()
    assert problem.message.startswith(f"ETCDAERO: the alias {alias!r} is not")


class SharedAddress(Address):
    reach = Reach.CLUSTER
    prefix_required = True
    safe = "shared:"


def test_a_store_that_others_may_share_requires_a_prefix(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for table in (ENGINES, STORES):
        shared = dataclasses.replace(table["mem"], address=SharedAddress, parse=lambda *_: SharedAddress())
        monkeypatch.setitem(table, "shared", shared)
    message = refusal({"default": {"KV": "mem:", "RECORDS": "shared:"}})
    assert message == 'ETCDAERO["default"]["PREFIX"] is required, because shared: can be shared'
    settings.ETCDAERO = {"default": {"KV": "shared:", "RECORDS": "shared:", "PREFIX": "shop"}}
    assert conf.get().kv.safe == "shared:"


@pytest.mark.parametrize("value", ["", 7, None, b"/tmp", "a\0b"])
def test_a_directory_must_be_a_path(value: Any) -> None:
    message = option_refusal("SHARED_DIR", value)
    assert message.startswith(
        'ETCDAERO["default"]["OPTIONS"]["SHARED_DIR"] must be a str or a Path, of a directory, not '
    )


def test_a_directory_may_be_given_as_a_path(settings: Settings) -> None:
    settings.ETCDAERO = {"default": {"OPTIONS": {"SHARED_DIR": Path("/dev/shm/shop")}}}
    assert conf.get().options.SHARED_DIR == "/dev/shm/shop"


@pytest.mark.parametrize("name", ["POLL_INTERVAL", "LOCK_TTL", "SESSION_TTL", "CALL_TIMEOUT", "SPLAY"])
@pytest.mark.parametrize("value", [True, "10", None, -1, 100_000, float("nan"), float("inf"), [1]])
def test_a_duration_must_be_a_number_in_range(name: str, value: Any) -> None:
    message = option_refusal(name, value)
    assert re.match(
        rf'ETCDAERO\["default"\]\["OPTIONS"\]\["{name}"\] must be a (whole )?number of seconds from \S+ to \S+, not ',
        message,
    )
    assert type(value).__name__ in message


@pytest.mark.parametrize("value", [1, 2.0])
def test_a_lease_has_whole_seconds_and_at_least_two(value: float) -> None:
    assert "must be a whole number of seconds from 2 to 3600" in option_refusal("LOCK_TTL", value)


@pytest.mark.parametrize("value", [0, 3599, 2592001, 7200.0])
def test_what_is_replaced_stays_for_an_hour_at_least(value: float) -> None:
    assert "must be a whole number of seconds from 3600 to 2592000" in option_refusal("GARBAGE_TTL", value)


@pytest.mark.parametrize("value", ["Auto", "on", True, None, ["auto"]])
def test_start_must_be_one_of_its_words(value: Any) -> None:
    message = option_refusal("START", value)
    assert "[\"START\"] must be one of 'auto', 'always', 'lazy', 'off', not " in message


def test_an_unknown_option_is_answered_with_a_guess() -> None:
    assert option_refusal("LOCK_TLL", 5).endswith("has the unknown key 'LOCK_TLL'; did you mean 'LOCK_TTL'?")
    assert "'lock_ttl'; did you mean 'LOCK_TTL'?" in option_refusal("lock_ttl", 5)


def test_options_made_in_code_obey_the_same_rules() -> None:
    with pytest.raises(ConfigurationError, match=r"^LOCK_TTL must be a whole number of seconds from 2 to 3600, not 1"):
        Options(LOCK_TTL=1)


def test_an_unknown_alias_is_answered_with_a_guess(settings: Settings) -> None:
    settings.ETCDAERO = {"default": MEMORY, "search": MEMORY}
    with pytest.raises(conf.SettingsError, match="no alias 'serch'; did you mean 'search'"):
        conf.get("serch")
    with pytest.raises(conf.SettingsError, match="no alias 'x'; known: default, search"):
        conf.get("x")


def test_one_wrong_alias_leaves_the_others_usable(settings: Settings) -> None:
    settings.ETCDAERO = {"default": MEMORY, "search": {"KV": "nope:"}}
    assert conf.aliases() == ("default", "search")
    assert conf.get("default").kv.safe == "mem:"
    with pytest.raises(conf.SettingsError, match="nope:"):
        conf.get("search")


def test_every_problem_is_collected(settings: Settings) -> None:
    settings.ETCDAERO = {
        "default": {"KV": "x:", "RECORDS": "y:", "PREFIX": "", "OPTIONS": {"SPLAY": -1, "LOCK_TTL": 0, "z": 1}, "Q": 1}
    }
    assert [problem.key for problem in conf.problems()] == [
        None,
        "KV",
        "RECORDS",
        "PREFIX",
        "OPTIONS",
        "OPTIONS",
        "OPTIONS",
    ]
    assert {problem.alias for problem in conf.problems()} == {"default"}


def test_no_message_and_no_repr_shows_a_password(settings: Settings) -> None:
    secret = "hunter2-which-is-long-enough"
    settings.ETCDAERO = {
        "default": {"KV": f"x://me:{secret}@h", "RECORDS": {"password": secret}, "OPTIONS": {"LOCK_TTL": secret}}
    }
    assert len(conf.problems()) == 3
    assert secret not in repr(conf.problems())


# --- changes ---------------------------------------------------------------------------------------------------------


def test_overridden_settings_count_at_once_and_only_while_they_last(settings: Settings) -> None:
    settings.ETCDAERO = {"default": {"PREFIX": "before"}}
    assert conf.get() is conf.get()
    with override_settings(ETCDAERO={"default": {"PREFIX": "during"}}):
        assert conf.get().prefix == "during"
    assert conf.get().prefix == "before"


def test_who_holds_something_of_the_old_settings_is_told_when_the_new_ones_can_be_read() -> None:
    seen = []

    def listener(**kwargs: Any) -> None:
        seen.append(conf.get().prefix)

    conf.changed.connect(listener)
    try:
        with override_settings(ETCDAERO={"default": {"PREFIX": "during"}}):
            assert seen == ["during"]
        with override_settings(TIME_ZONE="Europe/Vienna"):
            pass
    finally:
        conf.changed.disconnect(listener)
    assert seen == ["during", "tests"]


# --- opening ---------------------------------------------------------------------------------------------------------


def test_the_stores_of_an_alias_can_be_opened(settings: Settings) -> None:
    settings.ETCDAERO = {"default": {"KV": "mem:test-conf", "RECORDS": "mem:test-conf"}}
    engine, store = conf.open_engine(conf.get()), conf.open_store(conf.get())
    try:
        assert isinstance(engine, Engine)
        assert isinstance(store, RecordStore)
    finally:
        store.close()
        engine.close()


def test_calls_may_take_the_call_timeout_by_default(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def open_store(address: MemoryAddress, timeout: float) -> RecordStore:
        given.append(timeout)
        return MemoryStore(address.name)

    monkeypatch.setitem(STORES, "mem", dataclasses.replace(STORES["mem"], open=open_store))
    settings.ETCDAERO = {"default": {**MEMORY, "OPTIONS": {"CALL_TIMEOUT": 0.5}}}
    conf.open_store(conf.get()).close()
    assert given == [0.5]


@pytest.mark.parametrize("value", [None, 5, "x" * 101, "a\nb"])
def test_the_name_of_a_project_is_short(value: Any) -> None:
    expected = 'ETCDAERO["default"]["PROJECT"] must be a str of at most 100 printable characters'
    assert expected in refusal({"default": {"PROJECT": value}})


def test_a_project_may_have_a_name(settings: Settings) -> None:
    settings.ETCDAERO = {"default": {"PROJECT": "shop, staging"}}
    assert conf.get().project == "shop, staging"
    settings.ETCDAERO = {}
    assert conf.get().project == ""


@pytest.mark.parametrize(("urls", "package"), [("shop.urls", "shop"), ("urls", ""), (None, ""), ("a.b.c", "a")])
def test_the_package_of_a_project_is_that_of_its_urls(settings: Settings, urls: Any, package: str) -> None:
    settings.ROOT_URLCONF = urls
    assert conf.package() == package
