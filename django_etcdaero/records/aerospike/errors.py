"""What the native client reports, in this package's words.

The client raises for single records and returns codes for batches; both come here as code, message and whether a write
is in doubt. Codes below 0 are the client's own, those above are the server's.
"""

from __future__ import annotations

from collections.abc import Sequence

from django_etcdaero.exceptions import (
    ClusterError,
    ConfigurationError,
    DeadlineExceeded,
    EtcdAeroError,
    OutcomeUnknown,
    PermissionDenied,
    RecordTooBig,
    ResponseError,
    StoreBusy,
    StoreFull,
    Unauthenticated,
)
from django_etcdaero.stores.aerospike import AerospikeAddress
from django_etcdaero.stores.endpoint import Endpoint

OK, NOT_FOUND, GENERATION, EXISTS, FULL, TOO_BIG, NAMESPACE, FORBIDDEN, FILTERED_OUT = 0, 2, 3, 5, 8, 13, 20, 22, 27
"""Results of the server."""

NOT_UNDERSTOOD = 4
"""Of a text command: the server does not know it."""

NO_ANSWER, SOME_FAILED, CLUSTER_EMPTY, NO_VALUE = -15, -16, 1, -1000
"""Of a row of a batch; of batches as a whole; of a record as it was read (a number that the client does not use)."""

CUT_SHORT = {9, -10}
"""Time ran out, or the connection broke: the server may have done what it was asked."""

NO_CONNECTION = {-10, -1}
"""What the client says when it cannot connect, whatever the reason."""

UNCERTAIN = {9, NO_ANSWER}
"""Of rows that write: applied or not, though the client does not call them in doubt."""

REFUSED = {-7, 14}
"""Too much at once, at the client or at one record: nothing was done, and the next attempt may get through."""

AWAY = {
    -10, -8, -14,  # no connection, no node for the partition, too many errors lately (the client's circuit breaker)
    -1, 1, 7, 11, 15, 210,  # cluster not reachable, empty, changing, partition unavailable, scan aborted
}  # fmt: skip
"""A node or the cluster cannot be asked now. Clears up within seconds when the other nodes have taken over."""

_TIMEOUTS = {9, 212}
_TLS = -9
_MEANINGS: dict[int, tuple[type[EtcdAeroError], str]] = {
    FULL: (StoreFull, "the namespace takes no more writes (stop-writes; {})"),
    TOO_BIG: (RecordTooBig, "the record is larger than the server takes (max-record-size; {})"),
    -7: (StoreBusy, "all connections to the node are in use ({})"),
    14: (StoreBusy, "too many writes of this record are under way ({})"),
    18: (StoreBusy, "the server's storage cannot keep up ({})"),
    152: (StoreBusy, "the server's batch queue is full ({})"),
    211: (StoreBusy, "the server runs too many scans ({})"),
    25: (ConfigurationError, "it needs Aerospike's Enterprise Edition ({})"),
    51: (
        ConfigurationError,
        "the server has no users and passwords (Community Edition): leave out user and password ({})",
    ),
    52: (ConfigurationError, "security is switched off at the server: leave out user and password ({})"),
    150: (ConfigurationError, "batches are switched off at the server ({})"),
    151: (
        ConfigurationError,
        "a batch was larger than the server's batch-max-requests: set it to 0 or at least 5000 ({})",
    ),
    **dict.fromkeys(range(60, 81), (Unauthenticated, "the server does not accept user and password ({})")),
    **dict.fromkeys(range(81, 87), (PermissionDenied, "the user may not do this ({})")),
}
"""What else a result means: the error and its text, into which the result is put."""


class NativeError(Exception):
    """What the native client should have raised and did not. Has the attributes of its errors."""

    def __init__(self, code: int, msg: str, *, in_doubt: bool) -> None:
        super().__init__(code, msg)
        self.code = code
        self.msg = msg
        self.in_doubt = in_doubt


def translate(address: AerospikeAddress, code: int, msg: str, *, in_doubt: bool, ttl: int | None) -> EtcdAeroError:
    """Return the error for a result ``code``.

    ``in_doubt``: it was a write that may have been applied. ``ttl``: the time to live that the call would have set, if
    the namespace takes none.
    """
    place = address.safe
    text = f"{place}: {msg or 'no further message'} (Aerospike result {code})"
    if code == NO_VALUE:
        return ResponseError(f"{place}: {msg}")
    if in_doubt:
        return OutcomeUnknown(f"{text}: the write was sent and may have been applied")
    if code in _TIMEOUTS:
        return DeadlineExceeded(text)
    if code in AWAY or (code == NAMESPACE and "empty" in msg):  # "Connection is empty": nothing was asked of a server
        return ClusterError(text, errors_of(address.endpoints, msg or f"result {code}"))
    if code in _MEANINGS:
        kind, said = _MEANINGS[code]
        return kind(f"{place}: {said.format(f'Aerospike result {code}')}")
    if code == FORBIDDEN:
        return _forbidden(address, ttl)
    if code == NAMESPACE:
        return ConfigurationError(f"{place}: the cluster has no namespace {address.namespace!r}")
    if code == _TLS:
        return ConfigurationError(f"{place}: encryption: {msg} (Aerospike result {code})")
    return ResponseError(text)


def errors_of(hosts: Sequence[Endpoint], msg: str) -> dict[str, str]:
    """Return ``ClusterError.errors``: ``msg`` for the hosts it names, or for all."""
    spelled = [str(host) for host in hosts]
    return dict.fromkeys([host for host in spelled if host in msg] or spelled, msg)


def _forbidden(address: AerospikeAddress, ttl: int | None) -> EtcdAeroError:
    place, namespace = address.safe, address.namespace
    if ttl is None:
        return StoreFull(
            f"{place}: the server forbids the write: the set is at its stop-writes-count or stop-writes-size, or the "
            "clocks of the nodes are too far apart (Aerospike result 22)"
        )
    return ConfigurationError(
        f"{place}: the server refuses a time to live of {ttl} seconds. Records expire only in a namespace with "
        f"nsup-period above 0: set it for {namespace!r} in the server's configuration (nsup-period 120), and at run "
        f"time with asinfo -v 'set-config:context=namespace;namespace={namespace};nsup-period=120'; or allow times to "
        "live whose records are never cleared away (allow-ttl-without-nsup true; Aerospike result 22)"
    )
