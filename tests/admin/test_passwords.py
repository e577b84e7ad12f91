"""The passwords of the settings are on no page and in no output of a command, also when the stores do not answer."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.test import Client, override_settings
from health_check.exceptions import ServiceUnavailable

from django_etcdaero.contrib import health_check
from django_etcdaero.testing import real_stores
from tests.management.running import declare, run
from tests.management.test_every_command import CALLS, WITHOUT_LIMIT, with_file

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
    pytest.param((name, *arguments, *more), id=" ".join([name, *arguments, *more]), marks=[pytest.mark.slow])
    for name, ways in CALLS.items()
    for arguments in ways
    for more in ([], ["--json"])
]
"""All that :mod:`tests.management.test_every_command` has."""
QUICK = [
    ("etcdaero_status",),
    ("etcdaero_status", "--json"),
    ("etcdaero_doctor", "--json", "--timeout", "1"),
    ("etcdaero_doctor", "-v", "3", "--timeout", "1"),
    ("etcdaero_get", "a"),
    ("etcdaero_cache", "stats", "--timeout", "1"),
]
"""Ways to look that are always tried."""


@pytest.fixture
def away(registry: Any, closing: None) -> Any:
    """Stores with passwords that do not answer, and a dataset in them."""
    declare()
    with real_stores(), override_settings(ETCDAERO={"default": STORES}, CACHES={"default": CACHE}):
        yield


def output(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str:
    """Return all that a command says, its errors with all that led to them."""
    try:
        _, text = run(*command)
    except (CommandError, TypeError) as error:  # not each command has --json
        text = "".join(traceback.format_exception(error)) + repr(error)
    return text + "".join(capsys.readouterr())


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("command", QUICK, ids=" ".join)
def test_commands_that_look(
    command: tuple[str, ...], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    text = output(command, capsys)
    assert AWAY in text
    assert PASSWORD not in text + caplog.text


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("command", COMMANDS)
def test_commands(
    command: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.DEBUG)
    limit = () if command[0] in WITHOUT_LIMIT else ("--timeout", "1")
    text = output((command[0], *with_file(list(command[1:]), tmp_path), *limit), capsys)
    assert text
    assert PASSWORD not in text + caplog.text


@pytest.mark.slow
@pytest.mark.urls("tests.contrib.operations_urls")
def test_health_and_metrics(away: Any, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with override_settings(ETCDAERO_HEALTH={"DEEP": "all", "DEEP_TIMEOUT": 2}):
        deep = client.get("/health/ready", {"deep": "1"}).content.decode()
        told = [client.get(f"/{each}").content.decode() for each in ("health/live", "health/startup", "metrics")]
    assert AWAY in deep
    assert PASSWORD not in "".join([deep, *told]) + caplog.text
    for check in (health_check.KeyValue, health_check.Records):
        with pytest.raises(ServiceUnavailable, match=AWAY) as failed:
            check(alias="default").run()
        assert PASSWORD not in "".join(traceback.format_exception(failed.value)) + repr(failed.value)


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
