"""Finding out which hosts answer, within a bounded time.

The native client tells one error for all hosts, and each silent one (a frozen server still takes connections) holds it
up for its connect timeout. So the hosts are asked first: each name is looked up, a connection opened and, unless it
is encrypted, asked for the node's name with the smallest message of Aerospike's text protocol.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from django_etcdaero.stores.aerospike import AerospikeAddress
from django_etcdaero.stores.endpoint import Endpoint
from django_etcdaero.system.clocks import monotonic

from .detached import Detached

_REQUEST = b"\x02\x01\x00\x00\x00\x00\x00\x05node\n"  # version 2, type 1 (info), 48 bits of length, the command
_ANSWER = b"\x02\x01"

PATIENCE = 1.0
"""Seconds that one host is given at most."""


class Found(NamedTuple):
    """How the hosts of an address were found."""

    answering: list[Endpoint]
    errors: dict[str, str]
    """What is wrong with each of the others (see ``ClusterError.errors``)."""
    silent: bool
    """Whether at least one of them let the time run out."""
    nameless: set[Endpoint]
    """Those of the others whose names are still being looked up."""


class Nameless(TimeoutError):
    """The name of a host is still being looked up."""


def probe(address: AerospikeAddress, until: float, detached: Detached) -> Found:
    """Ask each host in turn, for ``PATIENCE`` at most.

    ``until``: when to be done, by :func:`time.monotonic`; what is left until then is shared by the hosts.
    ``detached``: where names are looked up.
    """
    found = Found([], {}, silent=False, nameless=set())
    for number, host in enumerate(address.endpoints):
        share = (until - monotonic()) / (len(address.endpoints) - number)
        host_until = monotonic() + min(max(share, 0.001), PATIENCE)
        try:
            _ask(_look_up(host, host_until, detached), host_until, encrypted=address.tls is not None)
        except TimeoutError as error:
            nameless = isinstance(error, Nameless)
            found.errors[str(host)] = "its name is still being looked up" if nameless else "does not answer"
            found = found._replace(silent=True, nameless=found.nameless | ({host} if nameless else set()))
        except (OSError, UnicodeError) as error:  # the second: of a name that none can be
            found.errors[str(host)] = getattr(error, "strerror", None) or str(error)
        else:
            found.answering.append(host)
    return found


def _look_up(host: Endpoint, until: float, detached: Detached) -> list[tuple[str, int]]:
    look_up = partial(socket.getaddrinfo, *host, type=socket.SOCK_STREAM)
    try:
        found = detached.result(f"lookup {host!s}", look_up, until - monotonic())
    except TimeoutError:
        raise Nameless from None
    return [(str(address[0]), int(address[1])) for *_, address in found]


def _ask(addresses: Sequence[tuple[str, int]], until: float, *, encrypted: bool) -> None:
    """Return when one of ``addresses``, which are those of one host, answers; raise what the last one does."""
    for left in range(len(addresses), 0, -1):
        try:
            _ask_address(addresses[-left], (until - monotonic()) / left, encrypted=encrypted)
        except OSError:
            if left == 1:
                raise
        else:
            return


def _ask_address(address: tuple[str, int], seconds: float, *, encrypted: bool) -> None:
    seconds = max(seconds, 0.001)
    until = monotonic() + seconds
    with socket.create_connection(address, timeout=seconds) as connection:
        if encrypted:
            return
        connection.settimeout(max(until - monotonic(), 0.001))
        connection.sendall(_REQUEST)
        answer = connection.recv(64)
    if not answer.startswith(_ANSWER):
        raise OSError("is no Aerospike server" if answer else "closes connections without an answer")
