"""``put(ttl=)`` puts a key that vanishes by itself, and ``get`` knows a default."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from django_etcdaero.exceptions import ClusterError, InvalidRequest, LeaseNotFound
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.client import lease as leases
from tests.keyvalue.interposed import InterposedEngine
from tests.waiting import wait_until

pytestmark = pytest.mark.parametrize("engine", ["mem"], indirect=True)


def lease_of(kv: KV, key: str) -> int:
    found = kv.get(key)
    assert found is not None
    return found.lease


@pytest.mark.slow
def test_a_key_with_a_time_to_live_is_gone_afterwards(kv: KV) -> None:
    kv.put("a", "1", ttl=2)
    assert kv.get("a") is not None
    wait_until(lambda: kv.get("a") is None, what="the end of the key")


def test_a_key_lives_at_least_as_long_as_it_was_to(kv: KV) -> None:
    kv.put("a", "1", ttl=60)
    status = kv.lease_status(lease_of(kv, "a"))
    assert 60 <= status.ttl <= status.granted_ttl == 66


def test_keys_with_the_same_time_to_live_share_a_lease_as_long_as_enough_is_left_of_it(
    kv: KV, store: InterposedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = kv.namespace("part/")
    for name in "abc":
        kv.put(name, "1", ttl=60)
        part.put(name, "1", ttl=60)
    kv.put("d", "1", ttl=61)
    assert store.calls["lease_grant"] == 2
    assert lease_of(kv, "a") == lease_of(kv, "part/c") != lease_of(kv, "d")
    now = leases.clock()
    monkeypatch.setattr(leases, "clock", lambda: now + 5)
    kv.put("e", "1", ttl=60)
    assert lease_of(kv, "e") == lease_of(kv, "a")
    monkeypatch.setattr(leases, "clock", lambda: now + 7)
    kv.put("a", "1", ttl=60)
    assert lease_of(kv, "e") != lease_of(kv, "a")
    assert store.calls["lease_keep_alive"] == 0


def test_a_plain_put_takes_the_time_to_live_away(kv: KV) -> None:
    kv.put("a", "1", ttl=60)
    kv.put("a", "2")
    assert lease_of(kv, "a") == 0


def test_a_shared_lease_that_was_revoked_is_replaced(kv: KV) -> None:
    kv.put("a", "1", ttl=60)
    old = lease_of(kv, "a")
    kv.engine.lease_revoke(old)
    assert kv.get("a") is None
    result = kv.put("a", "2", ttl=60, prev_kv=True)
    assert result.prev_kv is None
    assert lease_of(kv, "a") != old


def test_a_store_that_knows_no_lease_is_asked_once_more_only(kv: KV, store: InterposedEngine) -> None:
    store.fail("put", LeaseNotFound("gone"), times=1)
    with pytest.raises(LeaseNotFound):
        kv.put("a", "1", ttl=60)
    assert kv.put("a", "1", ttl=60)


def test_it_is_awaited_too(kv: KV) -> None:
    async def main() -> None:
        await kv.aput("a", "1", ttl=60)
        found = await kv.aget("a")
        assert found is not None
        assert found.lease
        assert await kv.aget("b", "none") == "none"
        assert await kv.aget("b") is None

    asyncio.run(main())


@pytest.mark.parametrize("ttl", [0, -1, 1.5, "60", True])
def test_a_time_to_live_is_a_whole_number_of_seconds(kv: KV, ttl: int) -> None:
    with pytest.raises(InvalidRequest, match="ttl must be"):
        kv.put("a", "1", ttl=ttl)


def test_it_goes_without_another_lease(kv: KV) -> None:
    for options in ({"lease": kv.lease(60)}, {"ignore_lease": True}):
        with pytest.raises(InvalidRequest, match="without lease"):
            kv.put("a", "1", ttl=60, **options)  # type: ignore[arg-type]


def test_the_default_of_get_is_returned_as_it_is(kv: KV) -> None:
    kv.put("a", "1")
    missing = object()
    assert kv.get("b", missing) is missing
    assert kv.get("b", default=missing, serializable=True) is missing
    found = kv.get("a", missing)
    assert found is not missing
    assert kv.get("b") is None


@pytest.mark.parametrize("style", ["threads", "tasks"])
def test_those_who_put_at_the_same_time_share_a_lease(kv: KV, store: InterposedEngine, style: str) -> None:
    async def put_all() -> None:
        await asyncio.gather(*(kv.aput(f"{number}", "1", ttl=60) for number in range(50)))

    if style == "tasks":
        asyncio.run(put_all())
    else:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: kv.put(f"{number}", "1", ttl=60), range(50)))
    assert store.calls["lease_grant"] == 1
    assert len({found.lease for found in kv.range("", prefix=True).kvs}) == 1


def test_a_lease_that_was_not_granted_holds_up_nobody(kv: KV, store: InterposedEngine) -> None:
    store.fail("lease_grant", ClusterError("away"))
    with pytest.raises(ClusterError):
        kv.put("a", "1", ttl=60)
    kv.put("a", "1", ttl=60)
    assert lease_of(kv, "a") != 0
