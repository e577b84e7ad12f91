"""The pages of locks, elections and leases."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from django_etcdaero import kv
from django_etcdaero.admin import leased
from django_etcdaero.exceptions import DeadlineExceeded
from django_etcdaero.inspection import leased_keys
from django_etcdaero.keyvalue import Lock
from django_etcdaero.keyvalue.queue.holder import Holder
from django_etcdaero.testing import failing_kv
from tests.keyvalue.queue.queueing import Waiter

LIST = "/admin/django_etcdaero/lock/"
PAGE = f"{LIST}default:jobs_2Fnightly/"
LEASES = "/admin/django_etcdaero/lease/"


@pytest.fixture
def held(closing: None) -> Iterator[Lock]:
    """A lock that is held."""
    lock = kv.lock("jobs/nightly")
    lock.acquire()
    yield lock
    for each in kv.lock("jobs/nightly").queue():
        kv.delete(each.key)


def test_the_list_and_the_page_tell_who_holds_and_who_waits(held: Lock, staff: Callable[..., Client]) -> None:
    client = staff("view_lock", "view_lease")
    waiter = Waiter(kv.lock("jobs/nightly"))
    holder, waiting = held.queue()
    listed = client.get(LIST).content.decode()
    for told in ("jobs/nightly", f"{holder.host}/{holder.pid}", f">{holder.token}<", " of 10 s", "lock"):
        assert told in listed
    assert "jobs/nightly" in client.get(LIST, {"q": str(holder.pid)}).content.decode()
    assert "0 locks" in client.get(LIST, {"q": "nobody"}).content.decode()
    page = client.get(f"{PAGE}change/").content.decode()
    for told in (f"{holder.token}", f"{waiting.token}", f"etcdaero_locks release jobs/nightly --token {holder.token}"):
        assert told in page
    assert "/release/" not in page
    assert "/key/" not in page
    held.release()
    assert waiter.wait() == "acquired"


def test_a_lock_leads_to_its_key_and_its_lease_and_the_lease_to_the_key(
    held: Lock, staff: Callable[..., Client]
) -> None:
    client = staff("view_lock", "view_lease", "view_key")
    lease = f"{held.queue()[0].lease:x}"
    key = f"/admin/django_etcdaero/key/default_2Fjobs_2Fnightly_2F{lease}/change/"
    for address in (f"{PAGE}change/", f"{LEASES}default_3A{lease}/change/"):
        assert f'href="{key}"' in client.get(address).content.decode()
    assert client.get(key).status_code == 200
    assert f'href="{LEASES}default_3A{lease}/change/"' in client.get(f"{PAGE}change/").content.decode()
    assert f'href="{key}"' not in staff("view_lease").get(f"{LEASES}default_3A{lease}/change/").content.decode()


def test_of_several_holders_each_is_told_with_its_token_and_its_command(
    closing: None, staff: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = staff("view_lock")
    held = [kv.semaphore("imports/slots", 3) for _ in range(2)]
    for each in held:
        each.acquire()
    page = html.unescape(client.get(f"{LIST}default:imports_2Fslots/change/").content.decode())
    for each in held:
        assert f"etcdaero_locks release imports/slots --token {each.token}<" in page
    assert "<dt>holders at most</dt><dd>3</dd>" in page
    assert '<dt>holders</dt><dd>2 <span class="quiet">each with a token of its own' in page
    assert "<dt>fencing token</dt>" not in page, "there are two"
    assert ">told<" not in page, "nobody has told anything about itself"
    monkeypatch.setattr(Holder, "dead", property(lambda holder: holder.token == held[1].token))
    assert 'and 1 more <span class="bad">1 dead</span>' in client.get(LIST).content.decode()
    held[0].release()
    page = client.get(f"{LIST}default:imports_2Fslots/change/").content.decode()
    assert f"<dt>fencing token</dt><dd>{held[1].token}</dd>" in page
    held[1].release()


def test_a_release_wants_the_name_and_the_holder_that_was_seen(held: Lock, staff: Callable[..., Client]) -> None:
    client = staff("view_lock", "release_lock")
    second = kv.lock("jobs/nightly")
    waiter = Waiter(second)
    seen = {"token": str(held.token), "reason": "it hangs"}
    assert f'name="token" value="{held.token}"' in client.get(f"{PAGE}release/").content.decode()
    assert "This is not the name" in client.post(f"{PAGE}release/", {**seen, "name": "jobs"}).content.decode()
    mangled = client.post(f"{PAGE}release/", {**seen, "token": "x", "name": "jobs/nightly"}).content.decode()
    assert "Token: Enter a whole number." in mangled
    assert held.held
    answer = client.post(f"{PAGE}release/", {**seen, "name": "jobs/nightly"}, follow=True)
    assert answer.redirect_chain == [(LIST, 302)]
    assert "was taken from" in answer.content.decode()
    assert waiter.wait() == "acquired"
    late = client.post(f"{PAGE}release/", {**seen, "name": "jobs/nightly"})
    assert late.status_code == 409
    assert "nothing was released" in late.content.decode()
    assert second.held
    failed, done = (entry.get_change_message() for entry in LogEntry.objects.all())
    assert "nothing was released" in failed
    assert "it hangs" in done
    second.release()
    assert client.post(f"{PAGE}release/", {**seen, "name": "jobs/nightly"}).status_code == 404


def test_a_waiter_is_removed_from_the_queue(held: Lock, staff: Callable[..., Client]) -> None:
    client = staff("view_lock", "release_lock")
    assert "There is nothing to do now" in client.get(f"{PAGE}remove/").content.decode()
    waiter = Waiter(kv.lock("jobs/nightly"))
    token = held.queue()[1].token
    assert "Select a valid choice" in client.post(f"{PAGE}remove/", {"waiter": "1", "reason": "x"}).content.decode()
    answer = client.post(f"{PAGE}remove/", {"waiter": str(token), "reason": "not now"}, follow=True)
    assert "was taken out of the queue" in answer.content.decode()
    assert "is lost" in str(waiter.wait())
    assert held.held


@pytest.mark.parametrize("name", ["<b>&\"'", "a/b\\c d", "\u202ertl\0", "_2F%25"])
def test_odd_names_are_escaped_and_found(closing: None, root: Client, name: str) -> None:
    with kv.lock(name) as lock:
        listed = root.get(LIST).content.decode()
        assert "<b>&" not in listed
        (address,) = re.findall(rf'href="({LIST}[^"]+/change/)"', listed)
        page = root.get(html.unescape(address)).content.decode()
        assert str(lock.token) in page
        assert "<b>&" not in page


def test_the_log_of_a_lock_that_is_gone_is_there_with_the_store_away(held: Lock, root: Client) -> None:
    data = {"token": str(held.token), "reason": "it hangs", "name": "jobs/nightly"}
    assert root.post(f"{PAGE}release/", data).status_code == 302
    with failing_kv(DeadlineExceeded("away")):
        answer = root.get(f"{PAGE}history/")
    assert (answer.status_code, "it hangs" in answer.content.decode()) == (200, True)


def test_the_pages_are_whole_when_the_store_is_down(held: Lock, root: Client) -> None:
    lease = held.queue()[0].lease
    with failing_kv(DeadlineExceeded("range: the server is away")):
        answers = [root.get(each) for each in (LIST, f"{PAGE}change/", LEASES, f"{LEASES}default:{lease:x}/change/")]
    assert [each.status_code for each in answers] == [200, 503, 200, 503]
    assert all("the server is away" in each.content.decode() for each in answers)
    for listed in (answers[0], answers[2]):
        assert "▲ not known" in listed.content.decode()
        assert not re.search(r"\b0 (locks|leases)", listed.content.decode()), "nobody knows how many there are"


def test_what_there_was_no_time_for_is_told(held: Lock, root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        kv.put(f"zz/{number}", "x")
    monkeypatch.setattr(leased_keys, "PAGE", 1)
    monkeypatch.setattr(leased, "within", lambda seconds: 0.0)
    for address in (LIST, LEASES):
        page = root.get(address)
        assert page.status_code == 200
        assert re.search(r"alias default: KV: \d keys were not looked through", page.content.decode())
    monkeypatch.undo()
    assert "not looked through" not in root.get(LIST).content.decode()
    kv.delete_range("zz/", prefix=True)


def test_an_id_that_no_lease_can_have_is_not_found(closing: None, root: Client) -> None:
    for id_ in ("0", "-1", "f" * 40, "x"):
        assert root.get(f"{LEASES}default:{id_}/change/").status_code == 404, id_


def test_leases_are_listed_shown_and_revoked(held: Lock, staff: Callable[..., Client]) -> None:
    client = staff("view_lease", "revoke_lease")
    lease = kv.lease(60)
    kv.put("one", "", lease=lease)
    kv.put("two", "", lease=lease)
    page = f"{LEASES}default:{lease.id:x}/"
    listed = client.get(LEASES).content.decode()
    for told in (f"{lease.id:x}", " of 60 s", "one"):
        assert told in listed
    assert "two" in client.get(f"{page}change/").content.decode()
    assert "the 2 keys on it are deleted" in client.get(f"{page}revoke/").content.decode()
    kv.put("three", "", lease=lease)
    late = client.post(f"{page}revoke/", {"keys": "2", "reason": "old"})
    assert (late.status_code, kv.range("one").count) == (409, 1)
    answer = client.post(f"{page}revoke/", {"keys": "3", "reason": "old"}, follow=True)
    assert answer.redirect_chain == [(LEASES, 302)]
    assert "was revoked, with 3 keys: old" in answer.content.decode()
    assert kv.get("one") is None
    assert client.get(f"{LEASES}default:nonsense/change/").status_code == 404
    assert client.get(f"{LEASES}nowhere:1/change/").status_code == 404
