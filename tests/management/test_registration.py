"""A refresh service is registered for as long as it runs."""

from __future__ import annotations

import threading

import pytest

from django_etcdaero import kv
from django_etcdaero.datasets.layout import REFRESHERS
from django_etcdaero.datasets.state.refreshers import Refresher, refreshers
from django_etcdaero.exceptions import DeadlineExceeded, PermissionDenied
from django_etcdaero.management.refresh_service import RefreshService
from django_etcdaero.management.registration import Registration
from django_etcdaero.runtime import runtime
from django_etcdaero.testing import failing_kv
from tests.management.running import declare
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("registry", "closing")


def test_a_service_is_registered_until_it_ends() -> None:
    prices = declare()
    ending = threading.Event()
    service = RefreshService([prices], runtime, lambda result: None)
    thread = threading.Thread(target=lambda: service.run(ending.wait))
    thread.start()
    try:
        wait_until(lambda: refreshers(kv), what="the registration")
        (found,) = refreshers(kv)
        assert found.refreshes("prices", 1)
        assert not found.refreshes("prices", 2)
        assert not found.refreshes("other", 1)
    finally:
        ending.set()
        thread.join()
    assert refreshers(kv) == []


def test_a_store_that_is_away_is_asked_again_at_the_next_look() -> None:
    stores, registration = runtime.stores("default"), Registration([declare()])
    with failing_kv(DeadlineExceeded("no answer")):
        registration.keep("default", stores)
    assert refreshers(kv) == []
    registration.keep("default", stores)
    registration.keep("default", stores)
    assert len(refreshers(kv)) == 1
    registration.end()
    assert refreshers(kv) == []


def test_who_may_not_register_is_not_asked_again() -> None:
    stores, registration = runtime.stores("default"), Registration([declare()])
    with failing_kv(PermissionDenied("no role")) as failing:
        registration.keep("default", stores)
        before = failing.failed
        registration.keep("default", stores)
        assert failing.failed == before > 0


def test_what_makes_no_sense_and_who_is_dead_are_left_out() -> None:
    dead = Refresher(started=1.0, schemas={}, process={"host": "here"})
    kv.put(f"{REFRESHERS}odd", b"odd")
    kv.put(f"{REFRESHERS}elsewhere", dead.encode())
    assert [each.who for each in refreshers(kv)] == [dead.who]
