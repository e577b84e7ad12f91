"""A store without room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from django_etcdaero.exceptions import StoreFull
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import DeleteRequest, PutRequest, RangeRequest
from tests.keyvalue.etcd.servers import Server


def test_a_full_store_refuses_writes_and_still_reads(tmp_path: Path, connect: Callable[..., EtcdEngine]) -> None:
    with Server("small", tmp_path / "small", options=["--quota-backend-bytes", str(4 << 20)]).running() as server:
        engine = connect([server.endpoint])

        def fill() -> None:
            for number in range(100):
                engine.put(PutRequest(b"%d" % number, bytes(1 << 20)))

        with pytest.raises(StoreFull, match="space"):
            fill()
        assert len(engine.range(RangeRequest(b"0")).kvs[0].value) == 1 << 20
        assert engine.delete_range(DeleteRequest(b"0")).deleted == 1
