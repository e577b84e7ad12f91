"""gRPC and gevent: gRPC waits in C, so that without its own support for gevent one call that waits stops them all."""

from __future__ import annotations

from django_etcdaero.system.gevent_pool import patched

_adapted = False


def adapt() -> None:
    """Prepare gRPC for gevent if that has patched threads. To be called before the first channel is made."""
    global _adapted
    if _adapted or not patched():
        return
    _adapted = True
    from grpc.experimental.gevent import init_gevent

    init_gevent()
