"""One member of the cluster as this process sees it: the ``etcd3`` package's client, with what is wrong in it mended.

The constructor of ``etcd3.Etcd3Client`` makes the channel without connecting it, and its methods for members, status,
alarms, snapshots and defragmentation are sound. Not used are its watches, locks and renewals (they do not survive a
lost connection) and its way to log in (a token that is never renewed, and that gRPC refuses to send unencrypted).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_etcdaero.keyvalue.etcd.messages.calling import GuardedChannel
from django_etcdaero.keyvalue.etcd.messages.classes import STUBS, keep_alive_once
from django_etcdaero.keyvalue.etcd.messages.loading import load_etcd3
from django_etcdaero.stores.credentials import Tls
from django_etcdaero.stores.endpoint import Endpoint

from .certificates import read_credentials, stamp
from .grpc_gevent import adapt
from .renewals import KeepAliveMany

_Etcd3Client: Any = load_etcd3().Etcd3Client

_CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # A range may be larger than gRPC's default of 4 MiB.
    ("grpc.max_receive_message_length", -1),
    # Finds a member that is frozen, or a connection that some firewall forgot, in 13 seconds. Without ping_timeout_ms
    # it takes a minute more. etcd closes connections that ping more often than every 5 seconds.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.http2.max_pings_without_data", 0),
    # The time allowed for connecting, in spite of its name; then how long to wait until the next try.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Servers compress only for clients that say they understand it. Not to say so saves a step of every call.
    ("grpc.per_message_compression", 0),
    ("grpc.per_message_decompression", 0),
    # Proxies that the environment names (http_proxy and the like) are for other sites: through one the members are not
    # reachable as a rule, and where they are it could read names and passwords.
    ("grpc.enable_http_proxy", 0),
    # What is closed before a fork must not live on in a pool that all channels of the process share.
    ("grpc.use_local_subchannel_pool", 1),
)

_SERVICES = ("KV", "Lease", "Auth", "Cluster", "Maintenance")

_RANGE_OPTIONS = (
    "limit",
    "revision",
    "count_only",
    "min_mod_revision",
    "max_mod_revision",
    "min_create_revision",
    "max_create_revision",
)


class MemberClient(_Etcd3Client):  # type: ignore[misc] # the package has no types
    """A client of one endpoint, in one process. Making it does no network I/O, but reads the TLS files."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        tls: Tls | None,
        timeout: float,
        interrupted: Callable[[MemberClient], object] = lambda _: None,
    ) -> None:
        """``timeout`` (seconds) is for the methods of ``Etcd3Client``; ``calls`` are given theirs one by one.

        ``interrupted(self)`` is called when an exception from outside has gone through a call: no other is to be made.
        Raises ``ConfigurationError`` that names a TLS file which cannot be used.
        """
        self._tls = tls
        self._files = self._stamp()
        adapt()
        super().__init__(
            host=endpoint.bracketed,
            port=endpoint.port,
            ca_cert=None if tls is None else tls.ca or "",  # not None: that would mean no encryption
            cert_cert=tls and tls.cert,
            cert_key=tls and tls.key,
            timeout=timeout,
            grpc_options=list(_CHANNEL_OPTIONS),
        )
        self._guarded = channel = GuardedChannel(self.channel, lambda: interrupted(self))
        self.calls: dict[str, Any] = {
            method: call for service in _SERVICES for method, call in vars(STUBS[f"{service}Stub"](channel)).items()
        }
        """The calls by name, for messages of :mod:`~django_etcdaero.keyvalue.etcd.messages.classes`."""
        self.calls["LeaseKeepAlive"] = keep_alive_once(channel)
        self.calls["LeaseKeepAliveMany"] = KeepAliveMany(channel)
        self.watch_stream: Any = vars(STUBS["WatchStub"](channel))["Watch"]

    @property
    def interrupted(self) -> bool:
        """It is not to be used any more."""
        return self._guarded.is_left

    @property
    def is_outdated(self) -> bool:
        """The TLS files are not those any more with which it connects."""
        return self._files != self._stamp()

    def _stamp(self) -> tuple[object, ...]:
        tls = self._tls
        return () if tls is None else stamp((tls.ca, tls.cert, tls.key))

    def _get_secure_creds(self, ca_cert: str, cert_key: str | None = None, cert_cert: str | None = None) -> Any:
        return read_credentials(ca=ca_cert or None, cert=cert_cert, key=cert_key)

    def _build_get_range_request(self, *args: Any, **options: Any) -> Any:
        """Etcd3Client takes these options and forgets them: a read of the past would show the present."""
        message = super()._build_get_range_request(*args, **options)
        for name in _RANGE_OPTIONS:
            if options.get(name) is not None:
                setattr(message, name, options[name])
        return message
