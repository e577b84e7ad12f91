"""What only a cluster has is refused by the embedded engine, which names itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from django_etcdaero.exceptions import Cancelled, NotSupported
from django_etcdaero.keyvalue import KV, Engine

PARTS: dict[str, Callable[[KV], object]] = {
    "auth": lambda kv: kv.auth,
    "cluster": lambda kv: kv.cluster,
    "maintenance": lambda kv: kv.maintenance,
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_there_is_nothing_to_administer_without_a_cluster(engine: Engine, part: Callable[[KV], object]) -> None:
    kv = KV(engine, prefix="shop/")
    with pytest.raises(NotSupported, match=r"^the embedded engine on .* has no ") as caught:
        part(kv)
    assert engine.info.location in str(caught.value)
    kv.close()
    with pytest.raises(Cancelled):
        part(kv)
