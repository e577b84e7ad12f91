"""What is asked of an etcd cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from django_etcdaero.doctor.checking import NotVisible, Probe
from django_etcdaero.doctor.subjects import EtcdCluster
from django_etcdaero.exceptions import Compacted, DeadlineExceeded, EtcdAeroError, FutureRevision, PermissionDenied
from django_etcdaero.inspection.key_reach import Reach, reach
from django_etcdaero.inspection.together import together
from django_etcdaero.keyvalue.administration import Alarm, EndpointHealth, EndpointStatus, HashKV, Member, MemberStatus
from django_etcdaero.keyvalue.administration.auth import AuthStatus
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.stores.endpoint import Endpoint, parse_endpoint
from django_etcdaero.system.clocks import monotonic

from . import metrics as metrics_module
from .metrics import Metrics

HASHED = 128 << 20
"""Bytes in use up to which members are asked for a checksum, which reads all keys."""


def _health(cluster: EtcdCluster, timeout: float) -> tuple[EndpointHealth, ...]:
    return cluster.engine().maintenance.health(timeout=timeout)


def _statuses(cluster: EtcdCluster, timeout: float) -> tuple[EndpointStatus, ...]:
    found: tuple[EndpointStatus, ...] = cluster.engine().maintenance.statuses(timeout=timeout)
    if found and all(each.status is None for each in found):
        raise DeadlineExceeded("; ".join(named(each.endpoint, each.error) for each in found))
    return found


def answering(found: Iterable[EndpointStatus]) -> dict[str, MemberStatus]:
    """Return the statuses that there are, by endpoint."""
    return {each.endpoint: each.status for each in found if each.status is not None}


def named(endpoint: str, error: str) -> str:
    """Return an error that begins with the endpoint, which some do by themselves."""
    return error if error.startswith(f"{endpoint}: ") else f"{endpoint}: {error}"


def _members(cluster: EtcdCluster, timeout: float) -> tuple[Member, ...]:
    return cluster.engine().cluster.members(timeout=timeout)


def _alarms(cluster: EtcdCluster, timeout: float) -> tuple[Alarm, ...]:
    return cluster.engine().maintenance.alarms(timeout=timeout)


def _auth(cluster: EtcdCluster, timeout: float) -> AuthStatus:
    return cluster.engine().auth.status(timeout=timeout)


def _hashes(cluster: EtcdCluster, timeout: float) -> tuple[HashKV, ...]:
    until = monotonic() + timeout
    seen = answering(_statuses(cluster, timeout / 2))
    if len(seen) < 2:
        raise NotVisible("it takes two members that answer to compare them")
    size = max(each.db_size_in_use for each in seen.values())
    if size > HASHED:
        raise NotVisible(f"a checksum would read {size >> 20} MiB of keys on each member; ask for it at a quiet hour")
    revision, maintenance = min(each.revision for each in seen.values()), cluster.engine().maintenance
    try:
        return tuple(
            maintenance.hash_kv(endpoint, revision=revision, timeout=max(0.01, until - monotonic()))
            for endpoint in seen
        )
    except (Compacted, FutureRevision) as error:
        raise NotVisible(f"the history was compacted at this very moment: {error}; repeat it") from error


def _history(cluster: EtcdCluster, timeout: float) -> Reach:
    return reach(KV(cluster.engine(), prefix=cluster.prefix), timeout=timeout)


def _metrics(cluster: EtcdCluster, timeout: float) -> Mapping[str, Metrics]:
    """Ask all endpoints side by side; those that do not tell are left out."""
    endpoints = cluster.address.endpoints
    found = together(
        {str(each): partial(metrics_module.read, each, cluster.address.tls, timeout) for each in endpoints},
        timeout=timeout,
    )
    told = {name: value for name, value in found.items() if isinstance(value, Metrics)}
    if not told:
        raise NotVisible("; ".join(dict.fromkeys(str(value) for value in found.values())))
    return told


def _advertised(cluster: EtcdCluster, timeout: float) -> Mapping[str, str]:
    """Try the addresses that members tell clients and that are not in the URL; return the error of each, if any."""
    known = {str(each) for each in cluster.address.endpoints}
    encrypted = cluster.address.tls is not None
    urls = [url for each in _members(cluster, timeout / 2) for url in each.client_urls]
    others = [each for each in map(partial(_endpoint, encrypted=encrypted), urls) if each and str(each) not in known]
    maintenance = cluster.engine().maintenance
    answers = together(
        {str(each): partial(maintenance.status, str(each), timeout=timeout / 2) for each in others},
        timeout=timeout,
    )
    return {
        name: str(answer) if isinstance(answer, Exception) and not isinstance(answer, PermissionDenied) else ""
        for name, answer in answers.items()
    }


def _endpoint(url: str, *, encrypted: bool) -> Endpoint | None:
    scheme, _, rest = url.partition("://")
    if scheme != ("https" if encrypted else "http"):
        return None
    try:
        return parse_endpoint(rest.rstrip("/"))
    except EtcdAeroError:
        return None


HEALTH = Probe("health", _health)
STATUSES = Probe("statuses", _statuses)
MEMBERS = Probe("members", _members)
ADVERTISED = Probe("advertised", _advertised)
ALARMS = Probe("alarms", _alarms)
AUTH = Probe("auth", _auth)
HASHES = Probe("hashes", _hashes)
HISTORY = Probe("history", _history)
METRICS = Probe("metrics", _metrics)
