"""Proxies that the environment names are not for the members of a cluster."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import PutRequest
from tests.keyvalue.etcd.servers import Server


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
def test_members_are_connected_to_without_a_proxy(
    shared_server: Server,
    connect: Callable[..., EtcdEngine],
    at: Callable[[str], bytes],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    for exception in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(exception, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        assert connect([shared_server.endpoint]).put(PutRequest(at("a"), b"1"), timeout=20).revision > 1
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()
