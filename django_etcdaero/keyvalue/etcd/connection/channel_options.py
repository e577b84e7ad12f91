"""What gRPC is told about every channel to a member."""

from __future__ import annotations

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
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
