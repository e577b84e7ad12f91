"""The pages with no more than a keyboard, and without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from django_etcdaero import kv
from django_etcdaero.datasets.dataset import Dataset

from .visitor import DRIVER, Visitor, visiting

pytestmark = [
    pytest.mark.slow,
    pytest.mark.servers,
    pytest.mark.skipif(DRIVER is None, reason="NO BROWSER: chromedriver (Debian: chromium-driver) is not installed"),
]

CONTENT = "//div[@id='content']"
BEGIN = "/admin/django_etcdaero/"


@pytest.fixture
def towns(registry: Any, closing: None, transactional_db: None) -> Any:
    """A dataset, and a key."""
    made: Any = type("Towns", (Dataset,), {"name": "towns", "load": lambda self: {"1": {"name": "Bern"}}})
    assert made.live.refresh().ok
    kv.put("prices/7", "12")
    return made.live


@pytest.fixture
def without_scripts(live_server: Any, towns: Any, django_user_model: Any) -> Iterator[Visitor]:
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("root"))
    with visiting(live_server.url, scripts=False) as visitor:
        visitor.goes_to("/admin/login/")
        visitor.driver.add_cookie({"name": "sessionid", "value": client.cookies["sessionid"].value})
        yield visitor


def test_all_is_there_without_scripts(without_scripts: Visitor, towns: Any) -> None:
    visitor = without_scripts
    visitor.goes_to(f"{BEGIN}watch/follow/?prefix=prices/")
    assert visitor.driver.find_element(By.CLASS_NAME, "etcdaero-without-script").is_displayed(), "no script has run"
    visitor.goes_to(f"{BEGIN}overview/")
    visitor.sees("What the doctor finds")
    visitor.clicks("towns", within=CONTENT)
    visitor.clicks("Pin", within=CONTENT)
    visitor.fills(reason="stocktaking")
    visitor.clicks("Pin", within="//form//div")
    visitor.sees("Pinned to version 1: stocktaking")
    assert towns.history()[0].pin.reason == "stocktaking"
    visitor.goes_to(f"{BEGIN}key/")
    visitor.clicks("prices/", within=CONTENT)
    visitor.clicks("7", within=CONTENT)
    visitor.sees("12")
    visitor.clicks("Edit", within=CONTENT)
    visitor.fills(value="13")
    visitor.clicks("Go on")
    visitor.clicks("Save")
    visitor.sees("Changed: revision")
    found = kv.get("prices/7")
    assert found is not None
    assert found.value == b"13"
    assert visitor.complaints() == []


def test_an_act_is_reached_by_the_keyboard_alone(live_server: Any, towns: Any, django_user_model: Any) -> None:
    django_user_model.objects.create_superuser("root", password="secret words")
    with visiting(live_server.url) as visitor:
        visitor.goes_to("/admin/login/")
        visitor.presses("root", Keys.TAB, "secret words", Keys.ENTER)
        visitor.sees("Site administration")
        visitor.goes_to(f"{BEGIN}dataset/towns/change/")
        visitor.tabs_to("Pin")
        visitor.presses(Keys.ENTER)
        visitor.sees("All processes stay")
        visitor.tabs_to("reason")
        visitor.presses("stocktaking")
        visitor.tabs_to("Pin")
        visitor.presses(Keys.ENTER)
        visitor.sees("Pinned to version 1: stocktaking")
        visitor.tabs_to("History")
        assert visitor.complaints() == []
    assert towns.history()[0].pin.by == "root"
