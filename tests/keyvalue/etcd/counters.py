"""What a server has counted itself."""

from __future__ import annotations

import re
import urllib.request

from tests.keyvalue.etcd.servers import Server

_LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")


def total(server: Server, name: str, **labels: str) -> int:
    """Return the sum of a counter over all its lines that bear ``labels``."""
    with urllib.request.urlopen(f"http://{server.endpoint}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = 0.0
    for match in filter(None, map(_LINE.match, lines)):
        told = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
        if match[1] == name and labels.items() <= told.items():
            found += float(match[3])
    return int(found)


def unary_calls(server: Server, *, service: str = "") -> int:
    """Return how many unary calls it has been asked.

    Not how many it has answered: it counts that after it has sent the answer, perhaps later than the caller asks here.
    """
    labels = {"grpc_service": service} if service else {}
    return total(server, "grpc_server_started_total", grpc_type="unary", **labels)
