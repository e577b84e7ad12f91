"""The passwords of the settings are on no page and in no output of a command, also when the stores do not answer."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.core.management import CommandError
from django.test import Client, override_settings

from django_etcdaero.testing import real_stores
from tests.management.running import declare, run

from .every_page import addresses, names_of_sections

PASSWORD = "hunter2"
AWAY = "127.0.0.1:1"
STORES = {
    "KV": f"etcd://root:{PASSWORD}@{AWAY}",
    "RECORDS": f"etcd://root:{PASSWORD}@{AWAY}/records",
    "PREFIX": "shop",
    "OPTIONS": {"CALL_TIMEOUT": 0.5},
}
CACHE = {
    "BACKEND": "django_etcdaero.cache.EtcdAeroCache",
    "LOCATION": f"etcd://root:{PASSWORD}@{AWAY}/cache",
}
COMMANDS = [
    ("etcdaero_status",),
    ("etcdaero_status", "--json"),
    ("etcdaero_doctor", "--json", "--timeout", "2"),
    ("etcdaero_doctor", "-v", "2", "--timeout", "2"),
    ("etcdaero_processes",),
    ("etcdaero_locks", "list"),
    ("etcdaero_ls",),
    ("etcdaero_get", "a"),
    ("etcdaero_cache", "stats", "--timeout", "1"),
    ("etcdaero_cache", "get", "a", "--timeout", "1"),
]


@pytest.fixture
def away(registry: Any, closing: None) -> Any:
    """Stores with passwords that do not answer, and a dataset in them."""
    declare()
    with real_stores(), override_settings(ETCDAERO={"default": STORES}, CACHES={"default": CACHE}):
        yield


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands(
    command: tuple[str, ...], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    try:
        _, text = run(*command)
    except CommandError as error:
        text = str(error)
    text += "".join(capsys.readouterr())
    assert AWAY in text
    assert PASSWORD not in text + caplog.text


@pytest.mark.slow
def test_pages(root: Client, away: None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen = []
    every_thing = dict.fromkeys(names_of_sections(), "default:x") | {"cache": "default", "key": "default/a"}
    for page in addresses(every_thing):
        text = root.get(page.path).content.decode()
        assert PASSWORD not in text, page.path
        seen.append(AWAY in text)
    assert any(seen), "no page told which server is away"
    assert PASSWORD not in caplog.text
