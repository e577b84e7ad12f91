"""The page that follows events, in a browser: it asks by itself, can be paused, and tells what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from selenium.webdriver.common.by import By

from django_etcdaero import kv
from django_etcdaero.exceptions import DeadlineExceeded
from django_etcdaero.testing import failing_kv
from tests.waiting import wait_until

from .visitor import DRIVER, PATIENCE, Visitor, visiting

pytestmark = [
    pytest.mark.slow,
    pytest.mark.servers,
    pytest.mark.skipif(DRIVER is None, reason="NO BROWSER: chromedriver (Debian: chromium-driver) is not installed"),
]

PAGE = "/admin/django_etcdaero/watch/follow/?prefix=config/"


@pytest.fixture
def visitor(live_server: Any, closing: None, transactional_db: None, django_user_model: Any) -> Iterator[Visitor]:
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("root"))
    with visiting(live_server.url) as visitor:
        visitor.goes_to("/admin/login/")
        visitor.driver.add_cookie({"name": "sessionid", "value": client.cookies["sessionid"].value})
        yield visitor


def rows(visitor: Visitor) -> list[str]:
    return [each.text for each in visitor.driver.find_elements(By.CSS_SELECTOR, ".etcdaero-events tbody tr")]


def test_events_come_by_themselves_and_gaps_are_told(visitor: Visitor) -> None:
    kv.put("config/old", "before")
    visitor.goes_to(PAGE)
    visitor.sees("Following.")
    assert rows(visitor) == []
    kv.put("config/<b>rate</b>", "<i>7</i>")
    kv.put("other", "not followed")
    visitor.sees("config/<b>rate</b>")
    visitor.sees("<i>7</i>")
    visitor.looks("follow")
    visitor.clicks("Pause")
    visitor.sees("Paused")
    kv.delete("config/<b>rate</b>")
    visitor.clicks("Go on")
    visitor.sees("deleted")
    assert [row.split()[1] for row in rows(visitor)] == ["deleted", "created"]
    visitor.driver.execute_script("Object.defineProperty(document, 'hidden', {get: () => true, configurable: true})")
    kv.put("config/a", "1")
    wait_until(lambda: visitor.driver.title.startswith("(1) "), PATIENCE, "the count in the title")
    visitor.driver.execute_script("Object.defineProperty(document, 'hidden', {get: () => false})")
    visitor.driver.execute_script("document.dispatchEvent(new Event('visibilitychange'))")
    assert visitor.driver.title.startswith("Follow events")
    visitor.clicks("Pause")
    kv.put("config/b", "1")
    kv.compact(kv.put("config/b", "2").revision)
    visitor.clicks("Go on")
    visitor.sees("their history was compacted")
    assert "compacted" in rows(visitor)[1]
    with failing_kv(DeadlineExceeded("range: the server is away")):
        visitor.sees("No answer since")
    visitor.sees("no event since then is missing")
    assert [each for each in visitor.complaints() if "503" not in each] == []


def test_without_scripts_a_link_looks_again(visitor: Visitor) -> None:
    visitor.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    visitor.goes_to(PAGE)
    kv.put("config/rate", "7")
    visitor.clicks("Look again")
    assert [row.split()[1:3] for row in rows(visitor)] == [["created", "config/rate"]]
    visitor.clicks("Only later ones")
    assert rows(visitor) == []
