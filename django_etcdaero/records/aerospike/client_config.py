"""What the native client is told of a set's cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.stores.aerospike import AerospikeAddress

MAX_CONNECTIONS = 100
"""Connections to a node that this process opens at most; calls beyond wait for one.

A node takes 15,000 by default (proto-fd-max) of all processes together.
"""


def check_files(address: AerospikeAddress) -> None:
    """Raise ``ConfigurationError`` that names a TLS file which cannot be read. The native client names none."""
    tls = address.tls
    if tls is None:
        return
    for name, path in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
        if path is None:
            continue
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{address.safe}: the TLS file {name} cannot be read: {error}") from error


def client_config(
    address: AerospikeAddress, hosts: Sequence[tuple[str, int]], connect_timeout: float, *, must_connect: bool = False
) -> dict[str, Any]:
    """Return the configuration of the native client, which tries ``hosts`` in their order.

    One that must connect fails when it cannot, and also when the first of several hosts is down and the next is a
    cluster of one node. Another goes on trying by itself.
    """
    credentials, tls = address.credentials, address.tls
    config: dict[str, Any] = {
        "hosts": [(host, port) for host, port in hosts],
        "connect_timeout": round(connect_timeout * 1000),
        "max_conns_per_node": MAX_CONNECTIONS,
        "fail_if_not_connected": must_connect,
    }
    if credentials is not None:
        config |= {"user": credentials.user, "password": credentials.password}
    if tls is not None:
        config["hosts"] = [(host, port, tls.name or host) for host, port in hosts]
        files = {"cafile": tls.ca, "certfile": tls.cert, "keyfile": tls.key}
        config["tls"] = {"enable": True, **{name: path for name, path in files.items() if path is not None}}
    return config
