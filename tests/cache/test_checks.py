"""What ``manage.py check`` says of caches."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import connections
from pytest_django import Settings

from django_etcdaero import checks

OURS = "django_etcdaero.cache.EtcdAeroCache"
FAR = {"KV": "etcd://etcd.example:2379", "RECORDS": "aerospike://one.example:3000/ns/rows", "PREFIX": "shop"}


@pytest.fixture(autouse=True)
def registered() -> None:
    checks.register_all()


def found(*, deploy: bool = False) -> list[tuple[str, str]]:
    messages = run_checks(tags=[checks.TAG], include_deployment_checks=deploy)
    return [(str(each.id).removeprefix("etcdaero."), each.msg) for each in messages]


def caches(settings: Settings, location: Any, **options: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": OURS, "LOCATION": location, "OPTIONS": options}}


@pytest.mark.parametrize(
    "location", ["mem:", "sqlite:////tmp/cache.sqlite3", "aerospike://h:3000/ns/set", "etcdaero:default"]
)
def test_what_is_right_is_not_mentioned(settings: Settings, location: str) -> None:
    caches(settings, location)
    assert found() == []


@pytest.mark.parametrize(
    ("location", "options", "told"),
    [
        ("", {}, "LOCATION must be a URL"),
        ("redis://h:6379", {}, "no known URL scheme"),
        ("sqlite:", {}, "sqlite:"),
        (["mem:"], {}, r"LOCATION must be one URL \(str\).*, not list"),
        (("etcd://h:2379/c", "etcd://i:2379/c"), {}, "LOCATION must be one URL"),
        (Path("/tmp/cache"), {}, "LOCATION must be one URL"),
        ("etcd://h:2379", {}, "LOCATION .*a path must follow the hosts"),
        ("etcdaero:other", {}, "no alias 'other'"),
        ("mem:", {"STAEL": 1}, "unknown key 'STAEL'; did you mean 'STALE'?"),
        ("mem:", {"STALE": "1"}, r"OPTIONS\['STALE'\] must be a number"),
        ("mem:", {"USING": "other"}, "no alias 'other'"),
        ("mem:", {"SERIALIZER": "yaml"}, "SERIALIZER is 'yaml'"),
        ("mem:", {"COMPRESSOR": "gzip"}, "COMPRESSOR is 'gzip'"),
    ],
)
def test_e008_wrong_entries(settings: Settings, location: str, options: dict[str, Any], told: str) -> None:
    caches(settings, location, **options)
    [(number, message)] = found()
    assert number == "E008"
    assert message.startswith('CACHES["default"]: ')
    assert re.search(told, message), message


def test_e008_tells_all_that_is_wrong_in_all_caches(settings: Settings) -> None:
    settings.CACHES = {
        "default": {"BACKEND": OURS, "LOCATION": "redis://h", "OPTIONS": {"STAEL": 1, "JITTER": 5}},
        "pages": {"BACKEND": OURS, "LOCATION": "mem:", "KEY_FUNCTION": "no.such", "OPTIONS": {"NEAR": {"bytes": 1}}},
        "others": {"BACKEND": OURS, "LOCATION": "mem:", "TIMEOUT": float("inf"), "KEY_PREFIX": "x" * 501},
    }
    messages = [message for _, message in found()]
    assert [message.partition(":")[0] for message in messages] == [
        *['CACHES["default"]'] * 3,
        *['CACHES["pages"]'] * 2,
        *['CACHES["others"]'] * 2,
    ]
    told = "\n".join(messages)
    for name in ("STAEL", "JITTER", "redis:", "NEAR", "KEY_FUNCTION", "TIMEOUT", "KEY_PREFIX"):
        assert name in told


def test_e008_the_file_of_an_alias_for_keys(settings: Settings) -> None:
    settings.ETCDAERO = {"default": FILES}
    caches(settings, "sqlite:////tmp/../tmp/kv.sqlite3")
    assert [(number, "KV of the alias 'default'" in message) for number, message in found()] == [("E008", True)]
    caches(settings, FILES["RECORDS"])
    assert found() == []


SETTINGS = f"""
SECRET_KEY = "x"
INSTALLED_APPS = ["django_etcdaero"]
CACHES = {{
    "default": {{"BACKEND": "{OURS}", "LOCATION": ["redis://h", "redis://i"]}},
    "pages": {{"BACKEND": "{OURS}", "LOCATION": "mem:", "OPTIONS": {{"STAEL": 1, "JITTER": 5}}}},
}}
"""


def test_e008_is_what_the_command_prints(tmp_path: Path) -> None:
    (tmp_path / "wrong_caches.py").write_text(SETTINGS)
    run = subprocess.run(
        [sys.executable, "-m", "django", "check", "--settings=wrong_caches"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in run.stderr
    told = re.findall(
        r'E008\) CACHES\["(\w+)"\]: \S*(LOCATION|STAEL|JITTER)', run.stderr.replace("OPTIONS has the unknown key ", "")
    )
    assert sorted(told) == [("default", "LOCATION"), ("pages", "JITTER"), ("pages", "STAEL")], run.stderr
    assert run.returncode == 1


def test_e008_never_tells_a_password(settings: Settings) -> None:
    caches(settings, "aerospike://user:secret@h:3000")
    assert "secret" not in str(found())


def test_e009_a_set_that_datasets_use(settings: Settings) -> None:
    settings.ETCDAERO = {"default": FAR}
    caches(settings, "aerospike://two.example:3000,one.example:3000/ns/rows")
    assert [number for number, _ in found()] == ["E009"]
    caches(settings, "aerospike://one.example:3000/ns/cache")
    assert found() == []


def test_w006_a_cache_in_memory(settings: Settings) -> None:
    caches(settings, "mem:")
    assert "W006" in [number for number, _ in found(deploy=True)]
    caches(settings, "sqlite:////tmp/cache.sqlite3")
    assert "W006" not in [number for number, _ in found(deploy=True)]


@pytest.fixture
def server_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a database ``servers``, which the checks do not open."""
    monkeypatch.setitem(connections.settings, "servers", {**connections.settings["default"], "ENGINE": POSTGRESQL})


POSTGRESQL = "django.db.backends.postgresql"
SERVERS = {"KV": "etcd://etcd.example:2379", "RECORDS": "aerospike://one.example:3000/ns/rows", "PREFIX": "shop"}
FILES = {"KV": "sqlite:////tmp/kv.sqlite3", "RECORDS": "sqlite:////tmp/rows.sqlite3"}
MEMORY = {"KV": "mem:w007", "RECORDS": "mem:w007"}
LOOPBACK = {**SERVERS, "KV": "etcd://localhost:2379"}


@pytest.mark.parametrize(
    ("alias", "location", "told"),
    [
        (FILES, "aerospike://one.example:3000/ns/cache", "only the processes of one host"),
        (FILES, "etcd://etcd.example:2379/cache", "only the processes of one host"),
        (FILES, "db:servers", "only the processes of one host"),
        ({**FILES, "RECORDS": "aerospike://one.example:3000/ns/rows"}, "etcdaero:default", "one host"),
        (LOOPBACK, "aerospike://one.example:3000/ns/cache", "only the processes of one host"),
        (MEMORY, "aerospike://one.example:3000/ns/cache", "only the threads of one process"),
        (MEMORY, "sqlite:////tmp/cache.sqlite3", "only the threads of one process"),
    ],
)
@pytest.mark.usefixtures("server_database")
def test_w007_changes_that_not_all_are_told_of(settings: Settings, alias: Any, location: str, told: str) -> None:
    settings.ETCDAERO = {"default": {"PREFIX": "shop", **alias}}
    caches(settings, location, NEAR={})
    [message] = [text for number, text in found(deploy=True) if number == "W007"]
    assert told in message
    assert message.startswith('CACHES["default"] has NEAR')
    assert "W007" not in [number for number, _ in found()]
    caches(settings, location)
    assert "W007" not in [number for number, _ in found(deploy=True)]


@pytest.mark.parametrize(
    ("alias", "location"),
    [
        (SERVERS, "aerospike://one.example:3000/ns/cache"),
        (SERVERS, "db:servers"),
        (SERVERS, "etcdaero:default"),
        (SERVERS, "sqlite:////tmp/cache.sqlite3"),
        (FILES, "sqlite:////tmp/cache.sqlite3"),
        (FILES, "etcdaero:default"),
        (FILES, "mem:"),
        (MEMORY, "mem:"),
    ],
)
@pytest.mark.usefixtures("server_database")
def test_w007_is_not_told_where_all_are(settings: Settings, alias: Any, location: str) -> None:
    settings.ETCDAERO = {"default": {"PREFIX": "shop", **alias}}
    caches(settings, location, NEAR={})
    assert not {"W007", "E008"} & {number for number, _ in found(deploy=True)}


def test_w007_is_about_the_alias_that_using_names(settings: Settings) -> None:
    settings.ETCDAERO = {"default": FILES, "servers": SERVERS}
    caches(settings, "aerospike://one.example:3000/ns/cache", NEAR={}, USING="servers")
    assert "W007" not in [number for number, _ in found(deploy=True)]


def test_caches_of_others_are_not_ours_to_check(settings: Settings) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "nowhere.EtcdAeroCache"},
        "b": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
    }
    assert found() == []
