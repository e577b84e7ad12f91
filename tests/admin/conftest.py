"""Staff, with and without permissions, and one thing of each section."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from django_etcdaero import kv, kvs
from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.state.presence import Presence, processes
from django_etcdaero.exceptions import LockLost
from django_etcdaero.runtime import runtime
from tests.waiting import wait_until

from . import every_page
from .every_page import Address, addresses


@pytest.fixture
def staff(db: None) -> Callable[..., Client]:
    """Make a client of a member of staff with permissions of this app (codenames), who is ``client.user``."""

    def make(*codenames: str, **options: Any) -> Client:
        user = User.objects.create_user(f"staff{User.objects.count()}", is_staff=True)
        found = Permission.objects.filter(content_type__app_label="django_etcdaero", codename__in=codenames)
        assert len(found) == len(codenames), f"not all of {codenames} exist"
        user.user_permissions.set(found)
        client = Client(**options)
        client.force_login(user)
        client.user = user  # type: ignore[attr-defined]
        return client

    return make


@pytest.fixture
def anybody(db: None) -> Client:
    """A visitor who has not logged in."""
    return Client()


@pytest.fixture
def root(db: None) -> Client:
    """A superuser's client."""
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def caches_kept(settings: Any) -> None:
    """Caches of this package: of each kind that pages tell apart, and one of another backend."""
    backend = "django_etcdaero.cache.EtcdAeroCache"
    settings.CACHES = {
        "default": {"BACKEND": backend, "LOCATION": "mem:pages", "KEY_PREFIX": "shop"},
        "texts": {
            "BACKEND": backend,
            "LOCATION": "mem:pages",
            "KEY_PREFIX": "texts",
            "OPTIONS": {"SERIALIZER": "json", "COMPRESSOR": "zlib", "IGNORE_EXCEPTIONS": True, "RETRY_INTERVAL": 0.01},
        },
        "again": {"BACKEND": backend, "LOCATION": "mem:pages", "KEY_PREFIX": "shop", "TIMEOUT": 5},
        "elsewhere": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    }


@pytest.fixture
def cities(registry: dict[str, Dataset[Any, Any]], closing: None) -> Dataset[str, dict[str, Any]]:
    """A dataset with a version, which this process reads."""

    class Cities(Dataset[str, dict[str, Any]]):
        name = "cities"
        every = 3600

        def load(self) -> dict[str, dict[str, Any]]:
            return {"1": {"name": "Bern", "population": 134_794}, "2": {"name": "Wien", "population": 1_982_097}}

    assert Cities.live.refresh().ok
    runtime.ensure_reader()
    Cities.live.snapshot()
    wait_until(lambda: [each.versions for each in processes(kv)] == [{"cities": 1}], what="the registration")
    return Cities.live


@pytest.fixture
def things(cities: Any, caches_kept: None) -> Iterator[None]:
    """One thing of each section."""
    process = processes(kv)[0]
    kv.put("prices/7", "12")
    lock = kv.lock("jobs/nightly")
    lock.acquire()
    watch = kv.watch("config/", prefix=True)
    presence = Presence(kvs["default"], ttl=30, started=1.0)
    presence.publish({}, revision=0, otherwise={})
    (told,) = processes(kv)[0].watches
    every_page.THINGS.update(
        cache="default",
        dataset="cities",
        key="default/prices/7",
        process=f"{process.host}/{process.pid}/{process.started:.3f}",
        watch=f"default:{process.host}/{process.pid}/{told.since:.6f}/config/*",
        lock="default:jobs/nightly",
        lease=f"default:{kv.session(10).lease.id:x}",
    )
    yield
    watch.cancel()
    presence.withdraw()
    with suppress(LockLost):  # where a test has released it by force
        lock.release()
    every_page.THINGS.clear()


@pytest.fixture
def pages(db: None) -> list[Address]:
    """All addresses but those of Django that nobody may see."""
    return [each for each in addresses() if not each.name.endswith(every_page.OF_DJANGO)]
