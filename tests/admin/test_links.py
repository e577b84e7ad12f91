"""Things lead to each other, for those who may see both."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from django_etcdaero import kv

BEGIN = "/admin/django_etcdaero/"
EVERYTHING = ("view_dataset", "view_key", "view_lease", "view_lock", "view_process", "view_watch")


@pytest.fixture
def whole_store_shown(settings: Any) -> None:
    """The tree of keys begins above the prefix."""
    settings.ETCDAERO = {"default": {**settings.ETCDAERO["default"], "OPTIONS": {"ADMIN_KEYS": "all"}}}


def links(client: Client, path: str) -> set[str]:
    answer = client.get(BEGIN + path)
    assert answer.status_code == 200
    found = re.findall(rf'href="({BEGIN}[^"#]*)"', answer.content.decode())
    return {html.unescape(each).removeprefix(BEGIN) for each in found}


def test_pages_lead_on(things: None, staff: Callable[..., Client]) -> None:
    look_at_links(staff(*EVERYTHING), prefix="")


def test_pages_lead_to_keys_of_the_whole_store(
    whole_store_shown: None, things: None, staff: Callable[..., Client]
) -> None:
    look_at_links(staff(*EVERYTHING), prefix="tests/")


def look_at_links(client: Client, *, prefix: str) -> None:
    """Follow what leads from one section to another."""
    lease = kv.lease(60)
    kv.put("leased", "", lease=lease)
    holder = kv.lock("jobs/nightly").queue()[0]
    quoted = prefix.replace("/", "_2F")
    leads = {
        "dataset/cities/change/": {
            f"key/?alias=default&under={prefix.replace('/', '%2F')}datasets%2Fcities%2Fs1%2F",
            f"key/default_2F{quoted}announcements_2Fcities_2Fs1/change/",
        },
        "lock/default:jobs_2Fnightly/change/": {
            f"process/?q={holder.host}+{holder.pid}",
            f"key/default_2F{quoted}jobs_2Fnightly_2F{holder.lease:x}/change/",
            f"lease/default_3A{holder.lease:x}/change/",
        },
        f"lease/default:{lease.id:x}/change/": {f"key/default_2F{quoted}leased/change/"},
        f"key/default_2F{quoted}leased/change/": {f"lease/default_3A{lease.id:x}/change/"},
    }
    for path, expected in leads.items():
        assert expected <= links(client, path), path
        for target in expected:
            assert client.get(BEGIN + target).status_code == 200, target
    assert str(holder.pid) in client.get(f"{BEGIN}process/?q={holder.host}+{holder.pid}").content.decode()


def test_who_may_not_see_a_section_gets_no_link_to_it(things: None, staff: Callable[..., Client]) -> None:
    lease = kv.lease(60)
    kv.put("leased", "", lease=lease)
    pages = {
        "dataset": "dataset/cities/change/",
        "lock": "lock/default:jobs_2Fnightly/change/",
        "lease": f"lease/default:{lease.id:x}/change/",
        "key": "key/default_2Fleased/change/",
    }
    for section, path in pages.items():
        others = [each for each in links(staff(f"view_{section}"), path) if each and not each.startswith(section)]
        assert others == [], section


def test_following_events_wants_the_permission_to_see_keys(things: None, staff: Callable[..., Client]) -> None:
    client = staff("view_watch", "follow_events")
    for path in ("watch/follow/", "watch/events/"):
        assert client.get(BEGIN + path).status_code == 403
    assert "follow" not in " ".join(links(client, "watch/"))


def test_one_of_a_thing_is_told_as_one(things: None, staff: Callable[..., Client]) -> None:
    lease = kv.lease(60)
    kv.put("leased", "", lease=lease)
    client = staff("view_lease", "revoke_lease")
    answer = client.post(f"{BEGIN}lease/default:{lease.id:x}/revoke/", {"keys": 1, "reason": "x"}, follow=True)
    assert "was revoked, with 1 key: x" in answer.content.decode()
