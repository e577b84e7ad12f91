"""Servers of gRPC that answer a few of etcd's calls, each in its own manner."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc


@contextmanager
def pretending(methods: Mapping[str, Any], *, threads: int = 8) -> Iterator[str]:
    """Run a server that answers ``methods``, handlers by ``Service/Method``; give where it listens."""
    server = grpc.server(ThreadPoolExecutor(threads))
    for path, handler in methods.items():
        service, method = path.split("/")
        generic = grpc.method_handlers_generic_handler(f"etcdserverpb.{service}", {method: handler})
        server.add_generic_rpc_handlers((generic,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait(10)


def until_it_ends(context: Any) -> None:
    """Say nothing more in a call until its other side ends it."""
    ended = threading.Event()
    if context.add_callback(ended.set):
        ended.wait(30)
