"""What a member tells at ``/metrics``: all that no call of etcd's own interface tells.

It is served where clients connect, unless the server was told otherwise. Only the metrics named here are kept.
"""

from __future__ import annotations

import http.client
import math
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final, TypeAlias

from django_etcdaero.doctor.checking import NotVisible
from django_etcdaero.stores.credentials import Tls
from django_etcdaero.stores.endpoint import Endpoint
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.error_text import message_of

MOST: Final = 4 << 20
"""Bytes that are read of an answer; etcd's has some hundred thousand."""
_PART: Final = 1 << 16

KEPT: Final = (
    "etcd_server_quota_backend_bytes",
    "etcd_server_has_leader",
    "etcd_server_leader_changes_seen_total",
    "etcd_server_proposals_failed_total",
    "etcd_server_proposals_pending",
    "etcd_debugging_mvcc_slow_watcher_total",
    "etcd_debugging_mvcc_total_put_size_in_bytes",
    "etcd_debugging_mvcc_watcher_total",
    "etcd_disk_wal_fsync_duration_seconds_bucket",
    "etcd_disk_backend_commit_duration_seconds_bucket",
    "etcd_network_peer_round_trip_time_seconds_bucket",
    "grpc_server_handled_total",
    "process_start_time_seconds",
)
"""Names of samples; the rest of some thousand lines is passed over."""

Labels: TypeAlias = frozenset[tuple[str, str]]

_LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Metrics:
    """What one member told."""

    samples: Mapping[str, Mapping[Labels, float]]
    """By name, then by labels."""
    skew: float | None = None
    """Seconds by which its clock is ahead of that of here, as far as whole seconds can tell; ``None``: not told."""
    at: float = 0.0
    """When it was asked, seconds since the epoch."""

    def value(self, name: str) -> float | None:
        """Return the sum over all labels; ``None``: there is no such sample."""
        found = self.samples.get(name)
        return None if not found else sum(found.values())

    def hours(self) -> float | None:
        """Return how long the process has run."""
        started = self.value("process_start_time_seconds")
        return None if started is None or not 0 < started < self.at else (self.at - started) / 3600

    def quantile(self, name: str, part: float) -> float | None:
        """Return the upper bound of the bucket that a quantile of a histogram is in; ``None``: too little was counted.

        ``name`` without ``_bucket``. Infinity: it is above all bounds.
        """
        buckets: dict[float, float] = {}
        for labels, count in self.samples.get(f"{name}_bucket", {}).items():
            bound = _number(dict(labels).get("le", ""))
            if bound is not None:
                buckets[bound] = buckets.get(bound, 0.0) + count
        total = max(buckets.values(), default=0.0)
        if total < 100:
            return None
        return next((bound for bound in sorted(buckets) if buckets[bound] >= part * total), math.inf)


def read(endpoint: Endpoint, tls: Tls | None, timeout: float) -> Metrics:
    """Ask a member. Raises :class:`NotVisible` when there is nothing to be had there within ``timeout`` seconds."""
    until = monotonic() + timeout
    connection = _connection(endpoint, tls, timeout)
    try:
        asked = time.time()
        connection.request("GET", "/metrics", headers={"Accept": "text/plain"})
        answer = connection.getresponse()
        answered = time.time()
        if answer.status != 200:
            raise NotVisible(f"{endpoint}/metrics answers with status {answer.status}")
        body = b"".join(_parts(answer.read1, until))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotVisible(f"{endpoint}/metrics cannot be read: {message_of(error)}") from error
    finally:
        connection.close()
    return Metrics(parse(body.decode(errors="replace")), _skew(answer.headers.get("Date"), asked, answered), answered)


def parse(text: str) -> dict[str, dict[Labels, float]]:
    """Return the samples of :data:`KEPT` in a text of Prometheus' format."""
    found: dict[str, dict[Labels, float]] = {}
    for line in text.splitlines():
        if not line.startswith(KEPT):
            continue
        match = _LINE.match(line)
        value = None if match is None else _number(match[3])
        if match is not None and value is not None and match[1] in KEPT:
            found.setdefault(match[1], {})[frozenset(_LABEL.findall(match[2] or ""))] = value
    return found


def _connection(endpoint: Endpoint, tls: Tls | None, timeout: float) -> http.client.HTTPConnection:
    if tls is None:
        return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout)
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        # As the client of etcd, which takes an authority whose certificate says nothing of the key's usage; Python
        # demands that from 3.13 on.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if tls.cert is not None:
            context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ValueError) as error:
        raise NotVisible(f"the certificates cannot be read: {error}") from error
    return http.client.HTTPSConnection(endpoint.host, endpoint.port, timeout=timeout, context=context)


def _parts(read1: Callable[[int], bytes], until: float) -> Iterator[bytes]:
    size = 0
    while part := read1(_PART):
        size += len(part)
        if size > MOST or monotonic() > until:
            raise ValueError("the answer is too long")
        yield part


def _skew(date: str | None, asked: float, answered: float) -> float | None:
    """Return by how much the server's clock must differ: it tells whole seconds, at some time during the call."""
    if date is None:
        return None
    try:
        told = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return None
    if told > answered:
        return told - answered
    return min(0.0, told + 1 - asked)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
