"""The panel for dj-cache-panel and the card for dj-control-room: with those packages, on a site."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches

from django_etcdaero.contrib.cache_panel import EtcdAeroCachePanel
from django_etcdaero.exceptions import ClusterError
from tests.paths import ROOT

BACKEND = "django_etcdaero.cache.EtcdAeroCache"


@pytest.fixture
def panel(settings: Any, closing: None) -> EtcdAeroCachePanel:
    settings.CACHES = {"default": {"BACKEND": BACKEND, "LOCATION": "mem:panel", "OPTIONS": {"SERIALIZER": "json"}}}
    return EtcdAeroCachePanel("default")


def test_keys_are_listed_in_pages(panel: EtcdAeroCachePanel, monkeypatch: pytest.MonkeyPatch) -> None:
    caches["default"].set_many({f"k{number}": number for number in range(5)})
    caches["default"].set("other", 1, version=2)
    found = panel.query("default", "k*", page=2, per_page=2)
    assert found == {"keys": ["k2", "k3"], "total_count": 5, "page": 2, "per_page": 2}
    monkeypatch.setattr("django_etcdaero.contrib.cache_panel.MOST_KEYS", 3)
    found = panel.query("default")
    assert len(found["keys"]) == 3
    assert "narrower" in found["error"]


def test_a_key_is_told_without_a_use(panel: EtcdAeroCachePanel) -> None:
    caches["default"].set("a", {"b": 1}, 60)
    before = caches["default"].stats()
    found = panel.get_key("a")
    assert (found["value"], found["exists"], found["type"]) == ('{\n  "b": 1\n}', True, "json")
    assert 0 < found["expiry"] <= 60
    assert panel.get_key("missing")["exists"] is False
    assert caches["default"].stats() == before


def test_a_store_that_is_away_is_no_missing_key(panel: EtcdAeroCachePanel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise ClusterError("no host answers")

    monkeypatch.setattr(caches["default"].get_client(), "peek", fail)
    assert "no host answers" in panel.get_key("a")["value"]
    assert panel.get_key("a")["exists"] is True
    assert "no host answers" in panel.query("default")["error"]


def test_what_writes_is_off_and_right_if_it_is_turned_on(panel: EtcdAeroCachePanel) -> None:
    for refused in (panel.flush_cache, lambda: panel.edit_key("a", 1)):
        with pytest.raises(NotImplementedError):
            refused()
    panel.cache_settings = {"abilities": {"flush_cache": True, "edit_key": True}}
    panel.edit_key("a", "x")
    assert 0 < caches["default"].ttl("a") <= 300
    panel.edit_key("b", "x", timeout=5)
    assert 0 < caches["default"].ttl("b") <= 5
    assert panel.delete_key("a")["message"] == "Key a was deleted."
    assert panel.delete_key("a")["message"] == "There was no key a."
    assert "those without a key prefix" in panel.flush_cache()["message"]
    assert caches["default"].get("b") is None


@pytest.mark.slow
def test_both_on_a_site(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.programs.control_room_site", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert 'href="/admin/etcdaero/"' in seen["room"]
    assert "/admin/django_etcdaero/dataset/" in seen["index"]  # the sections are still in the admin
    assert seen["card"].startswith("/admin/django_etcdaero/")
    assert "book" in seen["search"]
    assert "film" not in seen["search"]
    assert "book" in seen["found"]
    assert "not found" in seen["missing"]
    assert "00000000  80 05" in seen["key"]
    assert seen["counted"] is False
    assert seen["left"] == ["film"]  # deleted, and not flushed
