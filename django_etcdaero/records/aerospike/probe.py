"""Finding out which hosts answer, within a bounded time.

The native client tells one error for all hosts, and each silent one (a frozen server still takes connections) holds it
up for its connect timeout. So the hosts are asked first: each connection is opened and, unless it is encrypted, asked
for the node's name with the smallest message of Aerospike's text protocol.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import NamedTuple

from .target import Target, spell

_REQUEST = b"\x02\x01\x00\x00\x00\x00\x00\x05node\n"  # version 2, type 1 (info), 48 bits of length, the command
_ANSWER = b"\x02\x01"

PATIENCE = 1.0
"""Seconds that one host is given at most."""


class Found(NamedTuple):
    """How the hosts of a target were found."""

    answering: list[tuple[str, int]]
    errors: dict[str, str]
    """What is wrong with each of the others (see ``ClusterError.errors``)."""
    silent: bool
    """Whether at least one of them let the time run out."""


def probe(target: Target, until: float) -> Found:
    """Ask each host in turn, for ``PATIENCE`` at most.

    ``until``: when to be done, by :func:`time.monotonic`; what is left until then is shared by the hosts.
    """
    found = Found([], {}, silent=False)
    for number, host in enumerate(target.hosts):
        share = (until - time.monotonic()) / (len(target.hosts) - number)
        try:
            _ask(host, min(max(share, 0.001), PATIENCE), encrypted=target.tls is not None)
        except TimeoutError:
            found.errors[spell(host)] = "does not answer"
            found = found._replace(silent=True)
        except OSError as error:
            found.errors[spell(host)] = error.strerror or str(error)
        else:
            found.answering.append(host)
    return found


def in_order(hosts: Sequence[tuple[str, int]], first: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return ``hosts`` with those in ``first`` first."""
    return sorted(hosts, key=lambda host: host not in first)


def _ask(host: tuple[str, int], seconds: float, *, encrypted: bool) -> None:
    until = time.monotonic() + seconds
    with socket.create_connection(host, timeout=seconds) as connection:
        if encrypted:
            return
        connection.settimeout(max(until - time.monotonic(), 0.001))
        connection.sendall(_REQUEST)
        answer = connection.recv(64)
    if not answer.startswith(_ANSWER):
        raise OSError("is no Aerospike server" if answer else "closes connections without an answer")
